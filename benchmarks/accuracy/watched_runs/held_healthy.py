"""The healthy runs of the held half: written before any of them was watched; they set no threshold."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.accuracy.watched_runs.held_models import (
    Dense,
    Experts,
    Gated,
    Masked,
    Mixer,
    PostNorm,
    RowConv,
    SeparableConv,
    Sideways,
    Variational,
    adversarial,
    copies,
    elbo,
)
from benchmarks.accuracy.watched_runs.loop import (
    Batch,
    Training,
    characters,
    plain,
    pretrained,
    rows,
    vocabulary,
    warmed,
)
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, Lora, PatchFormer, Residual, TextRecurrent, mlp

__all__ = ["RUNS"]

PICTURES, TOKENS = (1, 8, 8), (8, 8)


def silu_rms() -> Training:
    model = mlp(5, act=nn.SiLU, norm=nn.RMSNorm)
    return plain(model, AdamW(model.parameters(), 2e-3), rows())


def elu_nesterov() -> Training:
    model = mlp(3, act=nn.ELU)
    return plain(model, SGD(model.parameters(), 0.03, momentum=0.9, nesterov=True), rows())


def mixer() -> Training:
    model = Mixer()
    optimizer = AdamW(model.parameters(), 2e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=CosineAnnealingLR(optimizer, 200))


def row_conv() -> Training:
    model = RowConv()
    return plain(model, Adam(model.parameters(), 2e-3), rows(shape=TOKENS))


def separable() -> Training:
    model = SeparableConv()
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4), rows(shape=PICTURES))


def dense() -> Training:
    model = Dense()
    return plain(model, Adam(model.parameters(), 3e-3), rows(shape=PICTURES))


def post_norm() -> Training:
    model = PostNorm()
    optimizer = AdamW(model.parameters(), 1e-3)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=warmed(optimizer, 40), warmup=40)


def sideways() -> Training:
    model = Sideways()
    return plain(model, RMSprop(model.parameters(), 1e-3), rows(shape=TOKENS))


def vanilla_recurrent() -> Training:
    model = Sideways(nn.RNN)
    for name, p in model.cell.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(p)
    return plain(model, SGD(model.parameters(), 0.1, momentum=0.9), rows(shape=TOKENS), clip=1.0)


def text_gru() -> Training:
    model = TextRecurrent(vocabulary(), nn.GRU)
    return plain(model, AdamW(model.parameters(), 2e-3), characters(), clip=1.0)


def deeper_gpt() -> Training:
    model = Gpt(vocabulary(), width=32, depth=4, tied=False)
    optimizer = AdamW(model.parameters(), 3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    return plain(model, optimizer, characters(), scheduler=warmed(optimizer, 25, 200), warmup=25, clip=1.0)


def gpt_half_precision() -> Training:
    model = Gpt(vocabulary(), width=32)
    optimizer = AdamW(model.parameters(), 1e-3)
    return plain(model, optimizer, characters(size=8), autocast=True, accumulate=2, clip=1.0)


def masked() -> Training:
    model, text = Masked(vocabulary()), characters()

    def batch(n: int) -> Batch:
        x, _ = text(n)
        hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(n)) < 0.3
        return x.masked_fill(hidden, vocabulary()), x.masked_fill(~hidden, -100).reshape(-1)

    return plain(model, AdamW(model.parameters(), 2e-3), batch)


def contrastive() -> Training:
    """Two noisy views of a sample are told from those of other samples."""
    model, digits = mlp(2, outputs=16), rows(size=32)

    def batch(n: int) -> Batch:
        x, y = digits(n)
        return torch.cat([x, x]) + 0.3 * torch.randn(64, 64, generator=torch.Generator().manual_seed(n)), y

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a, b = functional.normalize(output, dim=-1).chunk(2)
        return functional.cross_entropy(a @ b.T / 0.2, torch.arange(len(a)))

    return plain(model, Adam(model.parameters(), 1e-3), batch, loss)


def variational() -> Training:
    model = Variational()
    return plain(model, Adam(model.parameters(), 1e-3), copies, elbo)


def wine() -> Training:
    model = mlp(2, width=32, inputs=13, outputs=3)
    return plain(model, Adam(model.parameters(), 3e-3), rows("wine", 32))


def _binary(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(output[:, 0], y.float())


def cancer() -> Training:
    model = mlp(2, width=32, act=nn.Tanh, inputs=30, outputs=1)
    return plain(model, SGD(model.parameters(), 0.1), rows("breast-cancer", 32), _binary)


def huber() -> Training:
    model = mlp(3, width=48, act=nn.SiLU, inputs=10, outputs=1)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.huber_loss(output[:, 0], (y - 152.0) / 77.0)

    return plain(model, SGD(model.parameters(), 0.05, momentum=0.9), rows("diabetes"), loss)


def fine_tuned_conv() -> Training:
    """Batch norms keep their statistics; a new head gets a rate ten times that of the trunk."""
    model = pretrained(ConvNet(), rows(shape=PICTURES, only=lambda y: y < 5), 100)
    model.head = nn.Linear(model.head.in_features, 10)
    for module in model.body:
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    groups = [{"params": model.body.parameters()}, {"params": model.head.parameters(), "lr": 0.02}]
    return plain(model, SGD(groups, 0.002, momentum=0.9), rows(shape=PICTURES))


def fine_tuned_transformer() -> Training:
    model = pretrained(PatchFormer(), rows(shape=TOKENS), 250)
    optimizer = AdamW(model.parameters(), 1e-4)
    return plain(model, optimizer, rows(shape=TOKENS), scheduler=warmed(optimizer, 10), warmup=10)


def lora_on_inverted() -> Training:
    """Low-rank pairs in a residual network of digits, for digits upside down; the head stays."""
    model = pretrained(Residual(), rows(), 150).requires_grad_(False)
    for i, layer in enumerate(model.first):
        model.first[i] = Lora(layer, 8)
    trained = [p for p in model.parameters() if p.requires_grad]
    return plain(model, Adam(trained, 3e-3), rows(change=lambda x: x.flip(1)))


def frozen_table() -> Training:
    model = TextRecurrent(vocabulary(), width=64)
    model.table.weight.requires_grad_(False)
    return plain(model, AdamW([p for p in model.parameters() if p.requires_grad], 3e-3), characters())


def sparse_table() -> Training:
    """SparseAdam for the table, Adam for the others."""
    model = TextRecurrent(vocabulary())
    model.table = nn.Embedding(vocabulary(), 48, sparse=True)
    others = [p for n, p in model.named_parameters() if n != "table.weight"]
    first, second = Adam(others, 3e-3), SparseAdam([model.table.weight], 3e-3)
    text = characters()

    def body(n: int) -> torch.Tensor:
        x, y = text(n)
        first.zero_grad()
        second.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        first.step()
        second.step()
        return loss

    return Training(model=model, optimizers=[first, second], body=body)


def gated() -> Training:
    model = Gated()
    return plain(model, Adam(model.parameters(), 2e-3), rows())


def weight_normed() -> Training:
    model = mlp(3)
    for i in (0, 2, 4):
        weight_norm(model[i])
    return plain(model, Adam(model.parameters(), 2e-3), rows())


def hinge_adversarial() -> Training:
    maker = mlp(2, inputs=16, outputs=64)
    judge = nn.Sequential(*(spectral_norm(m) if isinstance(m, nn.Linear) else m for m in mlp(2, outputs=1)))
    return adversarial(maker, judge, 1e-4, 4e-4)


def experts() -> Training:
    model = Experts()
    return plain(model, AdamW(model.parameters(), 2e-3), rows())


def smoothed() -> Training:
    model = ConvNet(act=nn.GELU)
    optimizer = AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    return plain(model, optimizer, rows(shape=PICTURES), nn.CrossEntropyLoss(label_smoothing=0.1))


def batches_of_four() -> Training:
    model = mlp(3, norm=nn.LayerNorm)
    return plain(model, Adam(model.parameters(), 1e-3), rows(size=4))


def strong_decay() -> Training:
    model = Residual(depth=4)
    return plain(model, AdamW(model.parameters(), 3e-3, weight_decay=0.3), rows())


def adagrad() -> Training:
    model = mlp(3)
    return plain(model, Adagrad(model.parameters(), 0.02), rows())


def zero_head() -> Training:
    model = ConvNet()
    nn.init.zeros_(model.head.weight)
    return plain(model, SGD(model.parameters(), 0.05, momentum=0.9), rows(shape=PICTURES))


def dropped() -> Training:
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 128), nn.ReLU())
    model.extend([nn.Dropout(0.5), nn.Linear(128, 10)])
    return plain(model, AdamW(model.parameters(), 1e-3), rows())


def distilled() -> Training:
    """Learns the outputs of a trained network."""
    teacher = pretrained(mlp(2, 128), rows()).eval().requires_grad_(False)
    model = mlp(2, 32)

    def batch(n: int) -> Batch:
        x, _ = rows()(n)
        return x, teacher(x)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.kl_div(output.log_softmax(-1), (y / 2).softmax(-1), reduction="batchmean")

    return plain(model, Adam(model.parameters(), 3e-3), batch, loss)


RUNS = {
    "SiLU MLP with RMSNorm, AdamW": silu_rms,
    "ELU MLP, Nesterov": elu_nesterov,
    "mixer, AdamW, cosine": mixer,
    "convolutions over rows, group norm, Adam": row_conv,
    "separable convolutions, SGD with momentum": separable,
    "DenseNet, Adam": dense,
    "transformer with norms behind, AdamW, warm-up 40": post_norm,
    "GRU of two directions, RMSprop": sideways,
    "plain RNN, orthogonal, SGD with momentum, clipped": vanilla_recurrent,
    "character GRU, AdamW, clipped": text_gru,
    "GPT of 4 layers, warm-up 25 and cosine": deeper_gpt,
    "GPT, bfloat16 autocast, accumulation of 2": gpt_half_precision,
    "masked characters, AdamW": masked,
    "contrastive, Adam": contrastive,
    "variational autoencoder, Adam": variational,
    "wine, Adam": wine,
    "breast cancer, tanh, SGD": cancer,
    "diabetes, Huber loss, SGD with momentum": huber,
    "fine-tuned CNN, batch norms kept, new head": fine_tuned_conv,
    "fine-tuned transformer, warm-up 10": fine_tuned_transformer,
    "LoRA in a residual network, inverted digits": lora_on_inverted,
    "frozen table, character LSTM": frozen_table,
    "sparse gradients, two optimizers": sparse_table,
    "ReZero, Adam": gated,
    "weight norm, Adam": weight_normed,
    "GAN with hinge loss and spectral norm": hinge_adversarial,
    "mixture of experts, AdamW": experts,
    "CNN, label smoothing": smoothed,
    "batches of 4, Adam": batches_of_four,
    "weight decay 0.3, AdamW": strong_decay,
    "MLP, Adagrad": adagrad,
    "CNN, head zero": zero_head,
    "dropout 0.5": dropped,
    "distillation": distilled,
}
