import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy import toy_data, toy_encoders
from xdistill.data.cache import cache_teacher
from xdistill.data.labels import keep_labels_of
from xdistill.data.refine import correct_and_smooth, joint_graph, refine_targets


def unit(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def dense_graph(teacher, student, neighbours):
    """S as a matrix, by loops."""
    e, s = [unit(r) for r in teacher.tolist()], [unit(r) for r in student.tolist()]
    n = len(e)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    c = [[(dot(e[i], e[j]) + dot(s[i], s[j])) / 2 for j in range(n)] for i in range(n)]
    w = [[0.0] * n for _ in range(n)]
    for i in range(n):
        near = sorted((j for j in range(n) if j != i), key=lambda j: -c[i][j])[:neighbours]
        for j in near:
            w[i][j] += max(c[i][j], 0.0) ** 3 / 2
            w[j][i] += max(c[i][j], 0.0) ** 3 / 2
    degree = [sum(row) for row in w]
    return torch.tensor(
        [
            [w[i][j] / math.sqrt(degree[i] * degree[j]) if w[i][j] else 0.0 for j in range(n)]
            for i in range(n)
        ],
        dtype=torch.float64,
    )


def twin(p, target, s, correct, steps):
    known = [i for i, label in enumerate(target.tolist()) if label >= 0]
    q, r0, m0 = p.clone(), torch.zeros_like(p), torch.zeros(len(p), 1, dtype=p.dtype)
    exact = torch.zeros_like(p)
    for i in known:
        exact[i, target[i]] = 1.0
        r0[i], m0[i] = exact[i] - p[i], 1.0
    if correct:
        r, m = r0, m0
        for _ in range(steps):
            r, m = 0.95 * s @ r + 0.05 * r0, 0.95 * s @ m + 0.05 * m0
        q = p + r / (m + 1e-3)
    q = q.clamp(min=1e-4)
    q = q / q.sum(1, keepdim=True)
    for i in known:
        q[i] = exact[i]
    out = q
    for _ in range(steps):
        out = 0.8 * s @ out + 0.2 * q
        for i in known:
            out[i] = exact[i]
    out = out.clamp(min=1e-4)
    return out / out.sum(1, keepdim=True)


@settings(max_examples=25)
@given(
    st.integers(3, 14), st.integers(1, 20), st.integers(0, 12), st.booleans(), st.integers(0, 99)
)
def test_it_equals_loops_over_rows(n, neighbours, steps, correct, seed):
    torch.manual_seed(seed)
    teacher, student = torch.randn(n, 4).double(), torch.randn(n, 3).double()
    p = torch.randn(n, 3).double().softmax(1)
    target = torch.randint(-1, 3, (n,))
    graph = joint_graph(teacher, student, neighbours)
    s = dense_graph(teacher, student, min(neighbours, n - 1))
    torch.testing.assert_close(graph.spread(torch.eye(n).double()), s)
    found = correct_and_smooth(p, target, graph, correct=correct, steps=steps)
    torch.testing.assert_close(found, twin(p, target, s, correct, steps))
    torch.testing.assert_close(found.sum(1), torch.ones(n).double())


def cached(rows=120, labels=4, tmp_path=None):
    data = keep_labels_of(toy_data(rows), labels)
    teacher = toy_encoders()[1].eval()
    return data, cache_teacher(data, teacher, "rich", root=tmp_path)


def test_a_poor_teacher_gets_better_and_labels_stay(tmp_path):
    truth = toy_data(120).target
    data, taught = cached(tmp_path=tmp_path)  # an untrained teacher: by chance
    refined = refine_targets(taught, "rich", data.inputs["cheap"])
    before = (taught.cached["rich"].logits.argmax(1) == truth).double().mean()
    logits = refined.cached["rich"].logits
    after = (logits.argmax(1) == truth).double().mean()
    assert float(after) > float(before) + 0.2
    known = data.target >= 0
    assert torch.equal(logits[known].argmax(1), data.target[known])
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(120))
    assert torch.equal(refined.cached["rich"].embedding, taught.cached["rich"].embedding)
    assert refined.modalities == ("cheap",) and torch.equal(refined.target, data.target)


def test_the_order_of_rows_does_not_matter(tmp_path):
    data, taught = cached(tmp_path=tmp_path)
    order = torch.randperm(120)
    mixed = refine_targets(taught.subset(order), "rich", data.inputs["cheap"][order])
    plain = refine_targets(taught, "rich", data.inputs["cheap"])
    torch.testing.assert_close(mixed.cached["rich"].logits, plain.cached["rich"].logits[order])


def test_labels_of_one_group_do_not_correct_the_others(tmp_path):
    data, taught = cached(labels=1, tmp_path=tmp_path)
    student = data.inputs["cheap"]
    by_default, not_corrected, corrected = (
        refine_targets(taught, "rich", student, correct=correct).cached["rich"].logits
        for correct in (None, False, True)
    )
    assert torch.equal(by_default, not_corrected) and not torch.equal(by_default, corrected)


def test_rows_without_the_teacher_stay_without(tmp_path):
    has = torch.arange(120) % 4 != 0
    data = keep_labels_of(toy_data(120), 4).replace(valid={"rich": has})
    taught = cache_teacher(data, toy_encoders()[1].eval(), "rich", root=tmp_path)
    refined = refine_targets(taught, "rich", data.inputs["cheap"])
    alone = refine_targets(taught.subset(has), "rich", data.inputs["cheap"][has])
    logits = refined.cached["rich"].logits
    assert float(logits[~has].abs().sum()) == 0 and torch.equal(refined.valid["rich"], has)
    torch.testing.assert_close(logits[has], alone.cached["rich"].logits)


def test_what_cannot_be_refined_is_refused(tmp_path):
    data, taught = cached(tmp_path=tmp_path)
    with pytest.raises(ValueError, match="needs cached logits of the 'rich' teacher"):
        refine_targets(data, "rich", data.inputs["cheap"])
    with pytest.raises(ValueError, match=r"got target \[120\] and student \[60, 6\]"):
        refine_targets(taught, "rich", data.inputs["cheap"][:60])
    for options in ({"neighbours": 0}, {"steps": -1}):
        with pytest.raises(ValueError, match="neighbours must be at least 1 and steps"):
            refine_targets(taught, "rich", data.inputs["cheap"], **options)
    nobody = taught.replace(valid={"rich": torch.zeros(120, dtype=torch.bool)})
    with pytest.raises(ValueError, match="no row of the dataset has rich"):
        refine_targets(nobody, "rich", data.inputs["cheap"])


@pytest.mark.parametrize("where", ["student", "embedding", "logits"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_not_finite_is_named(tmp_path, where, value):
    data, taught = cached(tmp_path=tmp_path)
    student, outputs = data.inputs["cheap"].clone(), taught.cached["rich"]
    outputs = outputs.map(torch.clone)
    tensor = student if where == "student" else getattr(outputs, where)
    tensor[7, 1] = value
    broken = taught.replace(cached={"rich": outputs})
    with pytest.raises(ValueError, match=rf"{where} holds NaN or infinity in 1 rows \(first: 7\)"):
        refine_targets(broken, "rich", student)
