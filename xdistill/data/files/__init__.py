"""Files of one kind each, and columns of a dataset that read them row by row."""

from xdistill.data.files.clips import ClipColumn
from xdistill.data.files.file_column import FileColumn
from xdistill.data.files.hdf5_column import HDF5Column
from xdistill.data.files.mapped_column import MappedColumn

__all__ = ["ClipColumn", "FileColumn", "HDF5Column", "MappedColumn"]
