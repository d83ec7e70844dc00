"""A watched run trains to the bit as an unwatched one, leaves no hook, and its file can be read back."""

from __future__ import annotations

import gc
import json

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, CheckFailedError
from fanin.integrations.torch import check_first_batch
from fanin.watching.first_batch import batch_hash
from fanin.watching.store import read_run
from tests.selection import few

X, Y = torch.randn(64, 32), torch.randint(0, 10, (64,))


def net(dropout=0.1):
    return nn.Sequential(
        nn.Linear(32, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def made(scale=1.0, kind=torch.optim.AdamW, lr=1e-3, **more):
    torch.manual_seed(0)
    model = net(**more)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    return model, kind(model.parameters(), lr=lr)


def train(model, optimizer, steps, watched=None, accumulate=1, scheduler=None):
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            loss = nn.functional.cross_entropy(model(X), Y) / accumulate
            loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if watched is not None:
            watched.step(loss=loss * accumulate)


def train_and_fail(model, optimizer, watched, kind):
    train(model, optimizer, 3, watched)
    assert hooks(model, optimizer)
    raise kind


def hooks(model, optimizer):
    """Every hook on the model's modules and on the optimizer."""
    tables = [t for m in model.modules() for t in (m._forward_pre_hooks, m._forward_hooks, m._backward_hooks)]
    tables += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]
    return [hook for table in tables for hook in table.values()]


def codes(report):
    return {f.code for f in (*report.findings, *report.consequences) if f.severity != "note"}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_watched_run_ends_with_the_same_bits(accumulate):
    bare, optimizer = made()
    train(bare, optimizer, 23, accumulate=accumulate)
    model, optimizer = made()
    with fanin.watch(model, optimizer, steps=22) as watched:
        train(model, optimizer, 23, watched, accumulate=accumulate)
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), model.parameters(), strict=True))
    assert [s.step for s in watched.watched.steps] == [*range(1, 11), 15, 20, 22]
    assert codes(watched.report) == set()
    assert watched.first.reason == ""


def test_ratios_are_those_of_the_whole_weights():
    model, optimizer = made()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    with fanin.watch(model, optimizer) as watched:
        train(model, optimizer, 10, watched)
    step = watched.watched.steps[-1]
    for name, distance in zip(watched.watched.weights, step.distances, strict=True):
        weight = dict(model.named_parameters())[name].detach()
        exact = (weight - start[name]).norm() / start[name].norm()
        # a ratio of two rms over n entries has a relative error of about 1 / sqrt(2 n) each
        assert distance == pytest.approx(exact.item(), rel=5 * (1 / min(weight.numel(), 1024)) ** 0.5)


def test_an_unmeasured_step_calls_one_hook():
    """With `step` it calls two functions."""
    model, optimizer = made()
    watched = fanin.watch(model, optimizer)
    train(model, optimizer, 12, watched)
    assert len(hooks(model, optimizer)) == 1
    train(model, optimizer, 2, watched)
    assert len(hooks(model, optimizer)) > 2, "step 15 is measured"
    train(model, optimizer, 1)
    train(model, optimizer, 1)
    assert watched.watched.steps[-1].step == 15, "nobody told that it is done, so it was read before step 16"
    watched.close()
    assert hooks(model, optimizer) == []


@pytest.mark.parametrize("end", few(["end", "error", "interrupt", "del", "last step"], every=2))
def test_no_hook_is_left(end):
    model, optimizer = made()
    if end in ("error", "interrupt"):
        kind = RuntimeError if end == "error" else KeyboardInterrupt
        with pytest.raises(kind), fanin.watch(model, optimizer) as watched:
            train_and_fail(model, optimizer, watched, kind)
    elif end == "del":
        watched = fanin.watch(model, optimizer)
        train(model, optimizer, 3)
        assert hooks(model, optimizer)
        del watched
        gc.collect()
    else:
        with fanin.watch(model, optimizer, steps=3 if end == "last step" else 100) as watched:
            assert hooks(model, optimizer)
            train(model, optimizer, 3, watched)
            assert (hooks(model, optimizer) == []) == (end == "last step")
    assert hooks(model, optimizer) == []


def test_a_start_that_fails_stops_before_the_first_step():
    model, optimizer = made(scale=8.0)
    before = [p.detach().clone() for p in model.parameters()]
    watched = fanin.watch(model, optimizer, fail_on="error", loss=lambda out: nn.functional.cross_entropy(out, Y))
    with pytest.raises(CheckFailedError, match="L801"):
        train(model, optimizer, 3, watched)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert watched.watched.steps == ()
    healthy, optimizer = made()
    watched = fanin.watch(healthy, optimizer, fail_on="error", loss=lambda out: nn.functional.cross_entropy(out, Y))
    train(healthy, optimizer, 3, watched)


def test_a_run_that_goes_wrong_is_stopped():
    model, optimizer = made(lr=0.2)
    watched = fanin.watch(model, optimizer, fail_on="warning", check=False)
    with pytest.raises(CheckFailedError, match="W901"):
        train(model, optimizer, 30, watched)
    assert len(watched.watched.steps) < 20


def test_the_report_names_the_batch():
    model, optimizer = made()
    first = check_first_batch(model, optimizer, loss=lambda out: nn.functional.cross_entropy(out, Y))
    train(model, optimizer, 1)
    assert first.report.result.header.batch_hash == batch_hash(X)
    assert f"batch hash {batch_hash(X)}" in str(first.report)
    assert batch_hash(X) != batch_hash(X + 1)
    assert first.report.measurements.loss.value == pytest.approx(
        nn.functional.cross_entropy(made(dropout=0.0)[0](X), Y).item(), rel=0.1
    )
    assert hooks(model, optimizer) == []


def test_evaluation_is_not_the_first_batch():
    model, optimizer = made()
    first = check_first_batch(model, optimizer)
    model.eval()
    model(X)
    with torch.no_grad():
        model.train()(X)
    assert first.report is None
    model(X)
    assert first.report is not None


def test_two_watches_and_a_check_do_not_see_each_other():
    model, optimizer = made()
    first = check_first_batch(model, optimizer)
    with fanin.watch(model, optimizer) as watched:
        fanin.check(model, X)
        assert first.report is None
        train(model, optimizer, 2, watched)
    assert first.report.result.header.batch_hash == watched.report.result.header.batch_hash == batch_hash(X)


def test_a_model_that_cannot_be_checked_is_trained_and_watched():
    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(32, 10)

        def forward(self, x, flag):
            if torch.overrides._get_current_function_mode() is not None:
                raise RuntimeError("not like this")
            return self.layer(x)

    model = Once()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with fanin.watch(model, optimizer) as watched:
        for _ in range(8):
            model(X, flag=True).square().mean().backward()
            optimizer.step()
            watched.step()
    assert "not like this" in watched.first.reason
    assert "W902" in codes(watched.report)
    assert "not like this" in watched.report.measurements.missing["check of the first batch"]


def test_warm_up_steps_count_by_their_rate():
    model, optimizer = made(lr=0.03)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=20)
    with fanin.watch(model, optimizer) as watched:
        train(model, optimizer, 60, watched, scheduler=scheduler)
    steps = watched.watched.steps
    assert watched.watched.peak == pytest.approx(0.03)
    by_step = {s.step: s for s in steps}
    assert by_step[20].effective == pytest.approx(sum(0.01 + 0.99 * n / 20 for n in range(20)))
    assert "W902" not in codes(watched.report)


def test_a_weight_that_is_zero_at_the_start_is_no_replaced_one():
    model, optimizer = made()
    nn.init.zeros_(model[5].weight)
    nn.init.zeros_(model[3].weight)
    with fanin.watch(model, optimizer, check=False) as watched:
        train(model, optimizer, 20, watched)
    assert "W901" not in codes(watched.report)


@pytest.mark.parametrize("out", ["run.jsonl"])
def test_a_stored_run_is_read_back_whole(tmp_path, out):
    model, optimizer = made()
    path = tmp_path / out
    with fanin.watch(model, optimizer, steps=12, out=path) as watched:
        train(model, optimizer, 12, watched)
    run = read_run(path)
    assert run.first == watched.first.report.result
    assert run.watched == watched.watched
    assert run.optimizer == watched.first.optimizer
    assert not run.cut
    assert watched.watched.steps[-1].loss is not None
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines[1:]] == [*range(1, 11), 12]
    path.write_text("\n".join(lines)[:-20])
    assert (len(read_run(path).watched.steps), read_run(path).cut) == (10, True)
    path.write_text(lines[0] + "\n" + lines[1].replace('"updates":[', '"updates":[1.0,') + "\n")
    with pytest.raises(ArgumentError, match="updates has 4 values for 3 names"):
        read_run(path)


def test_arguments_that_cannot_be_used_are_refused_before_anything_is_hooked():
    model, optimizer = made()
    for steps in (0, -1, 2.5, "ten", True, None):
        with pytest.raises(ArgumentError, match="steps is"):
            fanin.watch(model, optimizer, steps=steps)
    with pytest.raises(ArgumentError, match="optimizer is empty"):
        fanin.watch(model, [])
    with pytest.raises(ArgumentError, match="optimizer is a str"):
        fanin.watch(model, "adam")
    assert hooks(model, optimizer) == []


def test_lines_are_plain_where_standard_error_is_no_terminal(capsys):
    model, optimizer = made()
    with fanin.watch(model, optimizer, live=True) as watched:
        train(model, optimizer, 3, watched)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["step", "rate", "loss", "update", "distance", "signal", "dead"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert max(map(len, lines)) <= 80


def test_what_is_said_of_a_start_is_a_note_where_the_weights_were_trained_before():
    """A large output layer is an error; in a model that has learned the batch they are what it is."""
    model, optimizer = made(dropout=0.0)
    with torch.no_grad():
        model[5].weight.mul_(200.0)
    with fanin.watch(model, optimizer, loss=lambda out: nn.functional.cross_entropy(out, Y)) as watched:
        train(model, optimizer, 2, watched)
    assert "L801" in codes(watched.report)
    for p in model[:4].parameters():
        p.requires_grad_(False)
    with fanin.watch(model, optimizer, loss=lambda out: nn.functional.cross_entropy(out, Y)) as watched:
        train(model, optimizer, 2, watched)
    assert "L801" not in codes(watched.report)
    told = (*watched.report.findings, *watched.report.consequences)
    assert any(f.code == "L801" and "frozen" in f.message for f in told)


def test_steps_that_move_far_and_learn_fast_are_a_note():
    def found(falls):
        model, optimizer = made(kind=torch.optim.SGD, lr=0.0, dropout=0.0)
        with fanin.watch(model, optimizer, check=False) as watched:
            for n in range(10):
                with torch.no_grad():
                    for group in optimizer.param_groups:
                        for p in group["params"]:
                            p.grad = -p.detach() * 0.1
                optimizer.param_groups[0]["lr"] = 1.0
                optimizer.step()
                watched.step(loss=2.0 - n * falls)
        return [f.severity for f in watched.report.findings if f.code == "W901"]

    assert found(0.15) == ["note"]
    assert found(0.05) == ["warning"]


def keeps_hooks(model):
    return [p for p in model.parameters() if p._post_accumulate_grad_hooks]


@pytest.mark.parametrize("end", few(["check", "remove", "del"], every=2))
def test_a_model_that_is_trained_in_eval_mode_is_checked_at_its_second_batch(end):
    bare, optimizer = made()
    train(bare.eval(), optimizer, 3)
    model, optimizer = made()
    first = check_first_batch(model.eval(), optimizer, loss=lambda out: nn.functional.cross_entropy(out, Y))
    x = X.clone().requires_grad_()
    torch.autograd.grad(model(x).sum(), x)  # no weight gets a gradient by that
    model(X)
    assert first.report is None
    if end == "check":
        train(model, optimizer, 3)
        assert not first.report.measurements.training
        assert first.reason == ""
        assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), model.parameters(), strict=True))
    else:
        assert keeps_hooks(model)
        if end == "remove":
            first.remove()
            assert first.reason.startswith("no forward in training mode ran")
        del first
        gc.collect()
        train(model, optimizer, 1)
    assert keeps_hooks(model) == hooks(model, optimizer) == []


def test_a_check_that_is_run_by_hand_after_its_hook_is_off_has_no_reason():
    """Some callbacks take the hook off and call `run` with what they train on."""
    model, optimizer = made()
    first = check_first_batch(model, optimizer)
    first.remove()
    assert first.reason
    first.run(model, (X,))
    assert first.reason == ""
    assert first.report is not None


def test_a_watch_checks_a_model_that_is_trained_in_eval_mode():
    model, optimizer = made(scale=8.0)
    with fanin.watch(model.eval(), optimizer, loss=lambda out: nn.functional.cross_entropy(out, Y)) as watched:
        train(model, optimizer, 1, watched)
        assert "no forward in training mode" in watched.report.measurements.missing["check of the first batch"]
        train(model, optimizer, 2, watched)
    assert {"L801", "W911"} <= codes(watched.report)


def test_weights_that_grow_in_the_middle_of_a_run_do_not_stop_it():
    """Rows and their gradients have another length from then on; what was measured before them stays comparable."""

    def grown(watch):
        model, optimizer = made(dropout=0.0, kind=torch.optim.SGD, lr=0.1)
        watched = fanin.watch(model, optimizer, check=False) if watch else None
        train(model, optimizer, 3, watched)
        with torch.no_grad():
            model[5].weight.grad = model[5].bias.grad = None
            model[5].weight.data = torch.cat([model[5].weight, torch.zeros(7, 64)])
            model[5].bias.data = torch.cat([model[5].bias, torch.zeros(7)])
        train(model, optimizer, 3, watched)
        return model, watched

    (bare, _), (model, watched) = grown(False), grown(True)
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), model.parameters(), strict=True))
    assert [s.step for s in watched.watched.steps] == [1, 2, 3, 4, 5, 6]
    watched.close()
