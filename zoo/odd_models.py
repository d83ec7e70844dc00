"""Models that stretch what a capture can follow; each builder gives (model, inputs)."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

ODD = {}


def odd(build):
    ODD[build.__name__] = build
    return build


class Wrap(nn.Module):
    """A module whose forward is a function of (self, inputs)."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args):
        return self.run(self, *args)


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def weight(*shape):
    return nn.Parameter(x(*shape) * 0.1)


@odd
def bilinear():
    return Wrap(lambda m, a, b: torch.tanh(m.f(a, b)), f=nn.Bilinear(8, 6, 5)), (x(3, 8), x(3, 6))


@odd
def bias_expanded_by_hand():
    def forward(m, s):
        return m.out(m.f(s) + m.b.expand_as(s) + s)

    return Wrap(forward, f=nn.Linear(8, 8, bias=False), b=nn.Parameter(torch.zeros(8)), out=nn.Linear(8, 2)), x(3, 8)


@odd
def spelled_as_in_numpy():
    def forward(m, s):
        h = torch.cat((m.f(s), m.g(s)), axis=1)
        return m.out(h - h.mean(axis=1, keepdims=True))

    return Wrap(forward, f=nn.Linear(8, 6), g=nn.Linear(8, 2), out=nn.Linear(8, 2)), x(3, 8)


@odd
def maxout_and_prelu():
    def forward(m, s):
        return m.out(m.p(m.f(s).view(len(s), 8, 2).amax(-1)))

    return Wrap(forward, f=nn.Linear(8, 16), p=nn.PReLU(8), out=nn.Linear(8, 2)), x(3, 8)


@odd
def beyond_the_range_of_numbers():
    def forward(m, s):
        h = m.f(s)
        for _ in range(5):
            h = torch.exp(h * h)
        return m.out(torch.cat((h, s), dim=1).clamp(-1, 1))

    return Wrap(forward, f=nn.Linear(8, 8), out=nn.Linear(16, 2)), x(3, 8)


@odd
def embedding_bag_with_offsets():
    rows = torch.randint(0, 20, (10,), generator=torch.Generator().manual_seed(0))
    return Wrap(lambda m, i, o: m.f(m.e(i, o)), e=nn.EmbeddingBag(20, 8, mode="sum"), f=nn.Linear(8, 2)), (
        rows,
        torch.tensor([0, 4]),
    )


@odd
def lstm_cell_loop():
    def run(m, seq):
        h = c = torch.zeros(seq.shape[0], 12)
        for t in range(seq.shape[1]):
            h, c = m.cell(seq[:, t], (h, c))
        return m.out(h)

    return Wrap(run, cell=nn.LSTMCell(6, 12), out=nn.Linear(12, 2)), x(3, 5, 6)


@odd
def packed_sequence():
    def run(m, seq, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(seq, lengths, batch_first=True, enforce_sorted=False)
        return m.out(m.rnn(packed)[1][0][-1])

    return Wrap(run, rnn=nn.LSTM(4, 6, batch_first=True), out=nn.Linear(6, 2)), (x(3, 5, 4), torch.tensor([5, 3, 2]))


@odd
def grouped_transposed_convolution():
    return nn.Sequential(nn.ConvTranspose2d(8, 16, 4, 2, 1, groups=4), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16)), x(
        2, 8, 5, 5
    )


@odd
def materialised_lazy():
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyConv1d(3, 1))
    model(x(2, 4, 7))
    return model, x(2, 4, 7)


@odd
def complex_spectral_weight():
    w = nn.Parameter(torch.view_as_complex(x(9, 9, 2)))
    return Wrap(lambda m, s: torch.fft.irfft(torch.einsum("bi,io->bo", torch.fft.rfft(s), m.w)), w=w), x(2, 16)


@odd
def vmapped_ensemble():
    def run(m, s):
        return torch.vmap(lambda w, b, v: F.linear(torch.relu(F.linear(s, w, b)), v))(m.w, m.b, m.v).mean(0)

    return Wrap(run, w=weight(5, 8, 4), b=weight(5, 8), v=weight(5, 2, 8)), x(3, 4)


@odd
def functional_call():
    def run(m, s):
        return torch.func.functional_call(m.net, {k: v * 2 for k, v in m.net.named_parameters()}, (s,))

    return Wrap(run, net=nn.Linear(4, 4)), x(3, 4)


@odd
def scripted_part():
    return nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.ReLU())), nn.Linear(8, 2)), x(3, 4)


@odd
def data_parallel():
    return nn.DataParallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))), x(3, 4)


@odd
def checkpointed():
    from torch.utils.checkpoint import checkpoint

    body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    return Wrap(lambda m, s: s + checkpoint(m.body, s, use_reentrant=False), body=body), x(3, 4)


@odd
def dictionaries_in_and_out():
    return Wrap(lambda m, batch: {"y": m.f(batch["x"]), "rest": (batch["x"], [batch["m"]])}, f=nn.Linear(4, 4)), (
        {"x": x(3, 4), "m": x(3)},
    )


@dataclasses.dataclass
class Batch:
    values: torch.Tensor
    count: int = 3


@odd
def dataclass_in_and_out():
    return Wrap(lambda m, b: Batch(m.f(b.values)), f=nn.Linear(4, 4)), (Batch(x(3, 4)),)


@odd
def distribution_out():
    def run(m, s):
        return torch.distributions.Normal(m.mean(s), F.softplus(m.spread(s)))

    return Wrap(run, mean=nn.Linear(4, 4), spread=nn.Linear(4, 4)), x(3, 4)


@odd
def in_place_everywhere():
    def run(m, s):
        y = m.f(s)
        y.relu_()
        y += s
        y[:, 0] = 0
        y.mul_(2).add_(1)
        y[:, 1:3] *= m.g
        return m.out(y)

    return Wrap(run, f=nn.Linear(4, 4), g=weight(2), out=nn.Linear(4, 2)), x(3, 4)


@odd
def energy_gradient():
    def run(m, s):
        s = s.requires_grad_(True)
        return torch.autograd.grad(m.net(s).sum(), s, create_graph=True)[0]

    return Wrap(run, net=nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))), x(4, 3)


@odd
def branches_on_numbers():
    def run(m, s):
        y = m.a(s) if (s.sum() > 100).item() else m.b(s)
        for _ in range(int(s.abs().sum().item()) % 3 + 1):
            y = torch.tanh(m.c(y))
        return m.out(y[y.sum(-1) > 0])

    return Wrap(run, a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 4), out=nn.Linear(4, 2)), x(3, 4)


@odd
def vector_quantized():
    def run(m, s):
        z = m.enc(s)
        distance = z.pow(2).sum(-1, keepdim=True) - 2 * z @ m.book.weight.t() + m.book.weight.pow(2).sum(-1)
        q = m.book(distance.argmin(-1))
        return m.dec(z + (q - z).detach())

    return Wrap(run, enc=nn.Linear(8, 4), book=nn.Embedding(16, 4), dec=nn.Linear(4, 8)), x(5, 8)


@odd
def hypernetwork():
    def run(m, s):
        return m.out(F.relu(F.linear(s, m.h(m.z).view(8, 4))))

    return Wrap(run, h=nn.Linear(3, 32), z=weight(3), out=nn.Linear(8, 2)), x(5, 4)


@odd
def learned_queries():
    def run(m, s):
        q = m.queries.expand(s.shape[0], -1, -1)
        q = q + m.attend(m.norm(q), s, s)[0]
        return m.out((q + m.mlp(q)).mean(1))

    mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
    return Wrap(
        run,
        queries=weight(1, 6, 16),
        norm=nn.LayerNorm(16),
        attend=nn.MultiheadAttention(16, 2, batch_first=True),
        mlp=mlp,
        out=nn.Linear(16, 3),
    ), x(2, 9, 16)


@odd
def old_style_reparametrizations():
    with torch.no_grad():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = nn.utils.weight_norm(nn.Linear(4, 8))
    return nn.Sequential(first, nn.ReLU(), nn.utils.spectral_norm(nn.Linear(8, 2))), x(3, 4)


@odd
def weight_standardized():
    class Standardized(nn.Conv2d):
        def forward(self, s):
            w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            w = w / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(s, w, self.bias, self.stride, self.padding)

    return nn.Sequential(Standardized(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), Standardized(8, 4, 3)), x(2, 3, 8, 8)


@odd
def rezero():
    def run(m, s):
        return m.out(s + m.alpha * m.down(torch.relu(m.up(s))))

    return Wrap(
        run, up=nn.Linear(4, 8), down=nn.Linear(8, 4), alpha=nn.Parameter(torch.zeros(1)), out=nn.Linear(4, 2)
    ), x(3, 4)


@odd
def swish_with_learned_slope():
    def run(m, s):
        h = m.f(s)
        return m.out(h * torch.sigmoid(m.beta * h))

    return Wrap(run, f=nn.Linear(4, 8), beta=nn.Parameter(torch.ones(())), out=nn.Linear(8, 2)), x(3, 4)


@odd
def cosine_head():
    def run(m, s):
        return F.linear(F.normalize(torch.relu(m.f(s)), dim=-1), F.normalize(m.w, dim=-1)) * m.t.exp()

    return Wrap(run, f=nn.Linear(4, 8), w=weight(5, 8), t=nn.Parameter(torch.tensor(2.0))), x(3, 4)


@odd
def batch_of_one():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8)
    ), x(1, 3, 8, 8)


@odd
def numpy_inside():
    def run(m, s):
        return m.f(s) * torch.from_numpy(s.detach().numpy().mean(0, keepdims=True)[:, :1].copy())

    return Wrap(run, f=nn.Linear(4, 4)), x(3, 4)


@odd
def manual_gru():
    def run(m, seq):
        h = torch.zeros(seq.shape[0], 12)
        for t in range(seq.shape[1]):
            ir, iz, in_ = m.wi(seq[:, t]).chunk(3, 1)
            hr, hz, hn = m.wh(h).chunk(3, 1)
            r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
            h = (1 - z) * torch.tanh(in_ + r * hn) + z * h
        return m.out(h)

    return Wrap(run, wi=nn.Linear(6, 36), wh=nn.Linear(12, 36), out=nn.Linear(12, 2)), x(3, 5, 6)
