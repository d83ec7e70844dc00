"""A real Trainer with the callbacks trains to the bit as without them; a broken start stops it."""

from __future__ import annotations

import pytest
import torch

from fanin.errors import ArgumentError, CheckFailedError
from fanin.watching.first_batch import batch_hash
from zoo import make_torchvision_importable

make_torchvision_importable()

transformers = pytest.importorskip("transformers")

from fanin.integrations.transformers import CheckCallback, InitCallback, WatchCallback  # noqa: E402
from tests.selection import few  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def gpt2(scale=1.0, seed=0):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=64, n_positions=32)
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    return model


class Tokens(torch.utils.data.Dataset):
    def __init__(self):
        self.ids = torch.randint(0, 64, (64, 16), generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


class Seen(transformers.TrainerCallback):
    """Keeps the first batch that the model was trained on."""

    def __init__(self):
        self.batch = None

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        def hook(module, args, kwargs):
            if self.batch is None and module.training:
                self.batch = {k: v.clone() for k, v in kwargs.items() if isinstance(v, torch.Tensor)}

        self.handle = model.register_forward_pre_hook(hook, with_kwargs=True)


def trainer(folder, model, callbacks, **more):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_steps=100,
        seed=3,
        **{"save_strategy": "no", **more},
    )
    made = transformers.Trainer(model, arguments, train_dataset=Tokens(), callbacks=callbacks)
    made.remove_callback(transformers.trainer_callback.PrinterCallback)
    return made


def hooks(model):
    return [h for m in model.modules() for t in (m._forward_pre_hooks, m._forward_hooks) for h in t.values()]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


MORE = {"float32": {}, "bf16": {"bf16": True}, "ckpt": {"gradient_checkpointing": True}}


@pytest.mark.parametrize("more", few(MORE.values(), MORE["float32"]), ids=MORE)
def test_training_ends_with_the_same_bits_and_the_report_names_the_batch(tmp_path, more):
    bare, model = gpt2(), gpt2()
    trainer(tmp_path, bare, [], **more).train()
    check, watched, seen = CheckCallback(), WatchCallback(steps=5), Seen()
    trainer(tmp_path, model, [seen, check, watched], **more).train()
    assert same(bare, model)
    seen.handle.remove()
    assert len(hooks(model)) == len(hooks(bare))
    assert [s.step for s in watched.watched.watched.steps] == [1, 2, 3, 4, 5]
    assert all(s.loss is not None for s in watched.watched.watched.steps)
    assert check.first.reason == ""
    assert check.first.report.ok
    assert check.first.report.result.header.batch_hash == batch_hash(seen.batch)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits_and_is_left_alone(tmp_path):
    whole = gpt2()
    trainer(tmp_path, whole, [CheckCallback(), WatchCallback()], save_strategy="steps", save_steps=3).train()
    again, check = gpt2(seed=5), CheckCallback(fail_on="error")
    with_all = [check, WatchCallback(), InitCallback()]
    trainer(tmp_path, again, with_all).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert same(whole, again)
    assert check.first is None


@pytest.mark.slow
def test_weights_times_eight_stop_before_the_first_step(tmp_path):
    model = gpt2(scale=8.0)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(CheckFailedError):
        trainer(tmp_path, model, [CheckCallback(fail_on="error", out=tmp_path / "r.html")]).train()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert (tmp_path / "r.html").exists()


@pytest.mark.slow
def test_init_starts_a_new_model_and_refuses_a_trained_one(tmp_path):
    model, other = gpt2(), gpt2(seed=5)
    trainer(tmp_path, model, [InitCallback(seed=2)])
    trainer(tmp_path, other, [InitCallback(seed=2)])
    assert same(model, other)
    assert same(model, InitCallback(seed=2).wrap(lambda: gpt2(seed=9))())
    model.config._name_or_path = "gpt2"
    with pytest.raises(ArgumentError, match="loaded from 'gpt2'"):
        trainer(tmp_path, model, [InitCallback()])
    trainer(tmp_path, model, [InitCallback(force=True)])
