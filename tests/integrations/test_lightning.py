"""A real Lightning run with the callbacks trains to the bit as without them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError, CheckFailedError
from fanin.watching.first_batch import batch_hash
from zoo import make_torchvision_importable

make_torchvision_importable()

lightning = pytest.importorskip("pytorch_lightning")

from fanin.integrations.lightning import CheckCallback, InitCallback, WatchCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
DRAW = torch.Generator().manual_seed(0)
DATA = torch.utils.data.TensorDataset(torch.randn(64, 16, generator=DRAW), torch.randint(0, 4, (64,), generator=DRAW))


class Net(lightning.LightningModule):
    def __init__(self, scale=1.0, manual=False, seed=0):
        super().__init__()
        self.scale, self.seed, self.layers = scale, seed, None
        self.automatic_optimization = not manual
        self.example_input_array = DATA[:4][0]
        self.seen = None

    def configure_model(self):
        if self.layers is None:
            torch.manual_seed(self.seed)
            self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))
            with torch.no_grad():
                for p in self.layers.parameters():
                    p.mul_(self.scale)

    def _configured(self):
        self.configure_model()
        return self

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.layers(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def fit(net, callbacks, folder, steps=6, ckpt=None, **more):
    torch.manual_seed(1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        accumulate_grad_batches=2,
        **more,
    )
    loader = torch.utils.data.DataLoader(DATA, batch_size=32, shuffle=False)
    trainer.fit(net, loader, ckpt_path=ckpt)
    return trainer


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_ends_with_the_same_bits_and_the_report_names_the_batch(tmp_path, precision):
    bare, net = Net(), Net()
    fit(bare, [], tmp_path, precision=precision)
    check, watched = CheckCallback(), WatchCallback(steps=5)
    fit(net, [check, watched], tmp_path, precision=precision)
    assert same(bare, net)
    assert check.first.reason == ""
    assert check.first.report.result.header.model_class == "Net"
    assert check.first.report.result.header.batch_hash == batch_hash(DATA[:32])
    assert watched.watched.first.reason == ""
    assert watched.watched.report.result.header.batch_hash == batch_hash(DATA[:32])
    assert "O901" in watched.watched.report.result.checked, "the check knows the optimizer"
    assert [s.step for s in watched.watched.watched.steps] == [1, 2, 3, 4, 5]
    assert all(s.loss is not None for s in watched.watched.watched.steps)
    assert watched.watched.watched.weights == ("layers.0.weight", "layers.3.weight")
    assert [h for m in net.modules() for t in (m._forward_pre_hooks, m._forward_hooks) for h in t.values()] == []


def test_a_resumed_run_keeps_what_it_loads(tmp_path):
    fit(Net(), [], tmp_path, steps=3).save_checkpoint(tmp_path / "three.ckpt")
    bare, net = Net(seed=4), Net(seed=4)
    fit(bare, [], tmp_path, ckpt=tmp_path / "three.ckpt")
    check = CheckCallback(fail_on="error")
    fit(net, [check, WatchCallback(), InitCallback()], tmp_path, ckpt=tmp_path / "three.ckpt")
    assert same(bare, net)
    assert check.first is None


@pytest.mark.parametrize("callback", [CheckCallback, WatchCallback])
def test_weights_times_eight_stop_before_the_first_step(tmp_path, callback):
    net = Net(scale=8.0)
    with pytest.raises(CheckFailedError):
        fit(net, [callback(fail_on="error")], tmp_path)
    reference = Net(scale=8.0)
    reference.configure_model()
    assert same(net, reference)


def test_a_watch_without_a_check_says_so(tmp_path):
    watched = WatchCallback(steps=2, check=False)
    fit(Net(), [watched], tmp_path, steps=2)
    assert watched.watched.first is None
    assert "check of the first batch" in watched.watched.report.measurements.missing


@pytest.mark.slow
def test_init_starts_the_layers_that_configure_model_makes(tmp_path):
    """As `init_` does on layers of another size; no step is made."""
    one, other = Net(scale=0.5), Net(scale=2.0)
    fit(one, [InitCallback(seed=3)], tmp_path, steps=0)
    other.configure_model()
    fanin.init_(other, other.example_input_array, seed=3)
    assert same(one, other)
    assert not same(one, Net(scale=0.5)._configured())


@pytest.mark.parametrize("callback", [CheckCallback, WatchCallback])
def test_manual_optimization_is_refused_by_name(tmp_path, callback):
    with pytest.raises(ArgumentError, match="Net uses manual optimization"):
        fit_manual(callback(), tmp_path)


def fit_manual(callback, folder):
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=1, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Net(manual=True), torch.utils.data.DataLoader(DATA, batch_size=8))
