"""Golden values of losses, fake quantization and AdamW, written from the formulas, on random inputs.

Names are "<loss>.<tensor>"; "<loss>.loss" is the scalar and "<loss>.grad.<tensor>" its gradient.
"""

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

LENGTHS = [7, 4, 2]
BATCH, SEQ, HIDDEN = 3, 7, 16


def _leaf(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).float().requires_grad_()


def _store(out, name, loss, leaves, fixed):
    """All arithmetic is float64, so that the goldens carry no rounding of their own."""
    for key, value in (leaves | fixed).items():
        out[f"{name}.{key}"] = value.detach()
    out[f"{name}.loss"] = loss.detach().float()
    for key, gradient in zip(leaves, torch.autograd.grad(loss, list(leaves.values()))):
        out[f"{name}.grad.{key}"] = gradient.float()


def _task_losses(out, generator):
    logits, labels = _leaf(generator, 6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    chosen = torch.log_softmax(logits.double(), -1)[torch.arange(6), labels]
    _store(out, "cross_entropy", -chosen.mean(), {"logits": logits}, {"labels": labels.int()})
    outputs, target = _leaf(generator, 6, 1), torch.randn(6, generator=generator)
    _store(out, "mse", ((outputs[:, 0].double() - target.double()) ** 2).mean(), {"outputs": outputs}, {"labels": target})

    scores = _leaf(generator, 10)
    labels = torch.tensor([2.0, 0, 1, 0, 1, 1, 1, 0, 2, 2])
    query = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    terms = [F.softplus(scores[j].double() - scores[i].double()) for i in range(10) for j in range(10)
             if query[i] == query[j] and labels[i] > labels[j]]
    _store(out, "ranknet", torch.stack(terms).mean(), {"scores": scores}, {"labels": labels, "query": query.int()})


def _contrastive(out, generator):
    queries = F.normalize(torch.randn(4, 8, generator=generator), dim=-1).requires_grad_()
    documents = F.normalize(torch.randn(6, 8, generator=generator), dim=-1).requires_grad_()
    query = torch.tensor([0, 1, 0, 2])
    query_of_document = torch.tensor([0, 1, 0, 2, 1, -1])  # document 4 is a second one of query 1; 5 belongs to none
    temperature = 0.05
    terms = []
    for i in range(4):
        allowed = [j for j in range(6) if j == i or query_of_document[j] != query[i]]
        similarities = documents[allowed].double() @ queries[i].double() / temperature
        terms.append(torch.logsumexp(similarities, 0) - similarities[allowed.index(i)])
    _store(out, "contrastive", torch.stack(terms).mean(), {"queries": queries, "documents": documents},
           {"query": query.int(), "query_of_document": query_of_document.int(),
            "temperature": torch.tensor(temperature)})


def _kl(teacher, student):
    """Of rows of logits, without reduction over rows."""
    p = torch.softmax(teacher, -1)
    return (p * (torch.log_softmax(teacher, -1) - torch.log_softmax(student, -1))).sum(-1)


def _distillation(out, generator):
    student, teacher = _leaf(generator, 6, 3), 2 * torch.randn(6, 3, generator=generator)
    _store(out, "logits", 4 * _kl(teacher.double() / 2, student.double() / 2).mean(), {"student": student},
           {"teacher": teacher, "temperature": torch.tensor(2.0)})

    students = {f"student.{i}": _leaf(generator, BATCH, SEQ, HIDDEN) for i in range(3)}
    teachers = {f"teacher.{i}": torch.randn(BATCH, SEQ, HIDDEN, generator=generator) for i in range(3)}
    total = 0
    for s, t in zip(students.values(), teachers.values()):
        s = torch.cat([s[b, :n] for b, n in enumerate(LENGTHS)]).double()
        t = torch.cat([t[b, :n] for b, n in enumerate(LENGTHS)]).double()
        total = total + ((s - t) ** 2).mean() / (t ** 2).mean()
    _store(out, "hidden_states", total, students, teachers | {"lengths": torch.tensor(LENGTHS, dtype=torch.int32)})


def _relation_loss(student, teacher, heads):
    """KL between softmax(A B^T / sqrt(d)) of teacher and student; mean over heads and valid query tokens of the batch."""
    total = 0
    for b, n in enumerate(LENGTHS):
        logits = []
        for left, right in (teacher, student):
            left, right = (x[b, :n].double().view(n, heads, -1).transpose(0, 1) for x in (left, right))
            logits.append(left @ right.transpose(-1, -2) / left.shape[-1] ** 0.5)
        total = total + _kl(*logits).sum()
    return total / (heads * sum(LENGTHS))


def _minilm(out, generator):
    s = {f"student.{x}": _leaf(generator, BATCH, SEQ, HIDDEN) for x in "qkv"}
    t = {f"teacher.{x}": torch.randn(BATCH, SEQ, HIDDEN, generator=generator) for x in "qkv"}
    (sq, sk, sv), (tq, tk, tv) = s.values(), t.values()
    lengths = torch.tensor(LENGTHS, dtype=torch.int32)
    v1 = _relation_loss((sq, sk), (tq, tk), 4) + _relation_loss((sv, sv), (tv, tv), 4)
    _store(out, "minilm_v1", v1, s, t | {"lengths": lengths, "heads": torch.tensor(4, dtype=torch.int32)})
    v2 = sum(_relation_loss((a, a), (b, b), 2) for a, b in ((sq, tq), (sk, tk), (sv, tv))) / 3
    _store(out, "minilm_v2", v2, s, t | {"lengths": lengths, "heads": torch.tensor(2, dtype=torch.int32)})


def _fake_quantize(out, generator):
    """Masks differ from torch.fake_quantize between s * 127 and s * 127.5: there torch lets the gradient pass."""
    tensor_x = torch.randn(6, 16, generator=generator) * 3
    tensor_scale = torch.tensor([0.03125])
    edges = [127, -127, 127.25, -127.25, 127.5, 128, -300, 0.5, 1.5, -0.5, -2.5, 0]
    tensor_x.view(-1)[:len(edges)] = torch.tensor(edges) * 0.03125
    row_x = torch.randn(6, 16, generator=generator)
    row_scale = (row_x.abs().amax(1, keepdim=True) / 127 * torch.tensor([1, 0.5, 1, 0.8, 1, 0.3]).view(6, 1))
    for name, x, scale in (("fake_quantize", tensor_x, tensor_scale), ("fake_quantize_rows", row_x, row_scale)):
        upstream = torch.randn(x.shape, generator=generator)
        a, s = x.numpy(), scale.numpy()
        q = np.clip(np.rint(a / s), -127, 127).astype(np.float32)
        inside = np.abs(a) <= s * np.float32(127)
        out |= {f"{name}.x": x, f"{name}.scale": scale, f"{name}.grad_output": upstream,
                f"{name}.output": torch.from_numpy(q * s), f"{name}.int8": torch.from_numpy(q.astype(np.int8)),
                f"{name}.grad.x": torch.from_numpy(upstream.numpy() * inside)}
    checked = tensor_x.clone().requires_grad_()
    torch_output = torch.fake_quantize_per_tensor_affine(checked, 0.03125, 0, -127, 127)
    assert torch.equal(torch_output, out["fake_quantize.output"])
    torch_output.backward(out["fake_quantize.grad_output"])
    differing = checked.grad != out["fake_quantize.grad.x"]
    assert ((tensor_x.abs()[differing] / 0.03125 - 127.25).abs() <= 0.25).all()


def _adamw(out, generator):
    initial = torch.randn(4, 3, generator=generator)
    gradients = torch.randn(5, 4, 3, generator=generator)
    parameter = initial.clone().requires_grad_()
    optimizer = torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, foreach=False)
    steps = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        steps.append(parameter.detach().clone())
    out |= {"adamw.initial": initial, "adamw.gradients": gradients, "adamw.after": torch.stack(steps)}


def write(path, seed):
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for part in (_task_losses, _contrastive, _distillation, _minilm, _fake_quantize, _adamw):
        part(out, generator)
    save_file({k: v.contiguous().clone() for k, v in out.items()}, path)
    return {k: (str(v.dtype).removeprefix("torch."), list(v.shape)) for k, v in out.items()}
