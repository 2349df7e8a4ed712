"""Spoken and written digits, FSDD and MNIST."""
