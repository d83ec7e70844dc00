"""Real processes of torch.distributed, and one model spread over them in every way that torch and DeepSpeed have.

``python -m tests.planning.spread WORLD STORE CASE ...`` runs a group of processes; a test starts it.
What is expected comes from NumPy alone (`expected`), and is gathered by torch (`gathered`), never by fanin.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

import fanin
from fanin.initializers import Centred, Constant, Normal, Orthogonal, Sparse, Uniform

ROOT = Path(__file__).parents[2]


class Experts(nn.Module):
    def __init__(self, count, width, hidden):
        super().__init__()
        self.up = nn.Parameter(torch.zeros(count, hidden, width))
        self.down = nn.Parameter(torch.zeros(count, width, hidden))


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Decoder(nn.Module):
    """Odd widths, a padded table tied to the head, and experts in one stacked tensor."""

    def __init__(self, width=30, hidden=50, vocabulary=37):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=3)
        self.layers = nn.ModuleList([Block(width, hidden), Block(width, hidden)])
        self.experts = Experts(4, width, 6)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


LAWS = {
    "embed.weight": Normal(std=0.02),
    "*norm.weight": Constant(1.0),
    "*bias": Uniform(bound=0.1),
    "layers.0.up.weight": Centred(Normal(std=0.1)),
    "layers.0.down.weight": Sparse(zeroed=0.5),
    "layers.1.*.weight": Uniform(bound=0.3),
    "experts.*": Normal(std=0.05),
}


def planned(**sizes):
    torch.manual_seed(0)
    return fanin.plan(Decoder(**sizes), recipe="torch", seed=7, overrides=LAWS, on_unknown="keep")


def expected(plan, name, dtype="float32"):
    """The values that NumPy draws for one parameter, with all its names."""
    a = plan[name]
    values = a.initializer.sample(a.shape, key=fanin.key(plan.seed, a.key), layout=a.layout, dtype=dtype).copy()
    values[list(a.zero_rows)] = 0.0
    return values


# ---------------------------------------------------------------------- ways to spread a model
def mesh_of(*names):
    from torch.distributed.device_mesh import init_device_mesh

    world = dist.get_world_size()
    sizes = {1: (world,), 2: (max(world // 2, 1), world // max(world // 2, 1))}[len(names)]
    return init_device_mesh("cpu", sizes, mesh_dim_names=names)


def fsdp2(model, mesh=None, **options):
    from torch.distributed.fsdp import fully_shard

    for layer in (*model.layers, model):
        fully_shard(layer, mesh=mesh or mesh_of("dp"), **options)
    return model


def fsdp2_by_columns(model):
    from torch.distributed.tensor import Shard

    return fsdp2(model, shard_placement_fn=lambda p: Shard(1) if p.ndim == 2 and p.shape[1] % 12 == 0 else None)


def tensor_parallel(model, mesh=None):
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for layer in model.layers:
        parallelize_module(layer, mesh or mesh_of("tp"), {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return model


def fsdp2_over_tensor_parallel(model):
    mesh = mesh_of("dp", "tp")
    return fsdp2(tensor_parallel(model, mesh["tp"]), mesh["dp"])


def stacked_experts(model):
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = mesh_of("ep")
    for name, tensor in list(model.experts.named_parameters()):
        spread = distribute_tensor(tensor.data, mesh, [Shard(0)], src_data_rank=None)
        setattr(model.experts, name, nn.Parameter(spread))
    return model


def fsdp1(model, own=True):
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    return FullyShardedDataParallel(
        model,
        device_id=torch.device("cpu"),
        use_orig_params=own,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        param_init_fn=lambda m: m.to_empty(device="cpu", recurse=False),
    )


def checkpointed(model, wrap=lambda m: m):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for index, layer in enumerate(model.layers):
        model.layers[index] = checkpoint_wrapper(wrap(layer))
    return model


WAYS = {
    "FSDP2": fsdp2,
    "HSDP": lambda m: fsdp2(m, mesh_of("replicate", "shard")),
    "TP": tensor_parallel,
    "FSDP2 + TP": fsdp2_over_tensor_parallel,
    "Shard(1)": fsdp2_by_columns,
    "FSDP1": fsdp1,
    "FSDP1, flat": lambda m: fsdp1(m, own=False),
    "DDP": lambda m: nn.parallel.DistributedDataParallel(m),
    "compile": torch.compile,
    "checkpointing": checkpointed,
    "checkpointing of compiled": lambda m: checkpointed(m, torch.compile),
    "FSDP2 of checkpointed": lambda m: fsdp2(checkpointed(m)),
    "stacked experts": stacked_experts,
}
NOT_FROM_META = frozenset({"DDP", "FSDP1", "FSDP1, flat"})  # torch itself gives them memory, or refuses meta
SIZES = {"Shard(1)": {"width": 48, "hidden": 60}}


def gathered(model):
    """Whole tensors by name, put together by torch."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    found = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    return {name.replace("_orig_mod.", ""): tensor for name, tensor in found.items()}  # torch keeps it in wrappers


def poison(model):
    with torch.no_grad():
        for p in model.parameters():
            (p.to_local() if hasattr(p, "to_local") else p).fill_(float("nan"))


def differing(plan, found):
    return [
        name
        for name in (n for a in plan.values() for n in a.names)
        if name not in found or not np.array_equal(found[name].detach().numpy(), expected(plan, name))
    ]


def of_one(sizes):
    """The certificate of the same plan on a model in one process."""
    return fanin.fingerprint(planned(**sizes).apply_(Decoder(**sizes)), gather=False)


def run_case(way, from_meta):
    from torch.distributed.tensor.debug import CommDebugMode

    sizes = SIZES.get(way, {})
    plan = planned(**sizes)
    with torch.device("meta" if from_meta else "cpu"):
        model = Decoder(**sizes)
    model = WAYS[way](model)
    if from_meta:
        with CommDebugMode() as counted:
            plan.materialize(model)
    else:
        poison(model)
        before = plan.verify(model).ok
        assert not before, "poison passed"
        with CommDebugMode() as counted:
            plan.apply_(model, agree=False)
    held = plan.verify(model, bits=True)
    assert held.ok, str(held)
    assert counted.get_total_counts() == 0, "apply_ communicates"
    wrong = differing(plan, gathered(model)) + [
        str(d) for d in fanin.fingerprint(model, gather=True).diff(of_one(sizes))
    ]
    with torch.no_grad():
        name, first = next(iter(model.named_parameters()))
        local = first.to_local() if hasattr(first, "to_local") else first
        if local.numel():
            local.view(-1)[0] += 1.0  # the last one may be padding
            assert not plan.verify(model, bits=True).ok, f"verify misses a change in {name}"
    return wrong


def run_stages():
    """Two stages, the second of which counts its layers anew and has the tied head."""
    plan = planned()
    for stage in {
        dist.get_rank() % 2,
        (dist.get_rank() + 1) % 2 if dist.get_world_size() == 1 else dist.get_rank() % 2,
    }:
        whole = Decoder()
        part = nn.Module()
        part.layers = nn.ModuleList([whole.layers[stage]])
        if stage:
            part.head = nn.Linear(30, 37, bias=False)
        else:
            part.embed = whole.embed

        def rename(name, stage=stage):
            return name.replace("layers.0", f"layers.{stage}")

        poison(part)
        plan.apply_(part, partial=True, rename=rename)
        assert plan.verify(part, bits=True, partial=True, rename=rename).ok
        own = fanin.fingerprint(part, gather=False, rename=rename)
        if set(own.entries) - set(of_one({}).entries):
            return [f"the certificate of stage {stage} is not a part of the whole one"]
        found = {rename(name): p for name, p in part.named_parameters()}
        if wrong := [n for n, p in found.items() if not np.array_equal(p.detach().numpy(), expected(plan, n))]:
            return wrong
    return []


def run_refusals():
    """Errors of the family on every process, with nothing changed and nobody waiting for ever."""
    from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor

    mesh, plan, wrong = mesh_of("dp"), planned(), []
    for placement in (Partial("max"), type("Odd", (Replicate,), {})()):
        model = Decoder()
        spread = distribute_tensor(model.experts.up.data, mesh, [Replicate()])
        model.experts.up = nn.Parameter(DTensor.from_local(spread.to_local(), mesh, [Replicate()], run_check=False))
        model.experts.up._spec.placements = (placement,)
        before = {n: p.detach().clone() for n, p in model.named_parameters() if n != "experts.up"}
        try:
            plan.apply_(model)
            wrong.append(f"{placement} is taken")
        except fanin.errors.FaninError as error:
            wrong += [] if "experts.up" in str(error) and type(placement).__name__ in str(error) else [str(error)]
        wrong += [n for n, p in model.named_parameters() if n in before and not torch.equal(p, before[n])]
    model = Decoder()
    if dist.get_rank() == 0:  # one process cannot: none writes
        model.extra = nn.Linear(2, 2)
    before = model.embed.weight.detach().clone()
    try:
        plan.apply_(model, agree=True)
        wrong.append("no agreement")
    except fanin.errors.PlanError:
        wrong += [] if torch.equal(before, model.embed.weight) else ["written although one process cannot"]
    return wrong


def run_gathered():
    """After a forward the root of FSDP2 holds its parameters whole: refused, and taken when they are put back."""
    plan, model = planned(), fsdp2(Decoder())
    kept = gathered(model)
    model(torch.arange(6).reshape(2, 3))
    try:
        plan.apply_(model)
        return ["written to parameters that are freed"]
    except fanin.errors.PlanError as error:
        wrong = [] if "reshard()" in str(error) and "the model" in str(error) else [str(error)]
    for module in (model, *model.layers):
        module.reshard()
    wrong += [n for n, t in gathered(model).items() if not torch.equal(t, kept[n])]
    plan.apply_(model)
    return wrong + differing(plan, gathered(model))


def run_three_axes():
    """A mesh of three axes: replicas, FSDP2 and tensor parallelism, with laws of units on the cut maps."""
    from torch.distributed.device_mesh import init_device_mesh

    world = dist.get_world_size()
    columns = 2 - world % 2
    names = ("replicate", "dp", "tp")
    mesh = init_device_mesh("cpu", (1, world // columns, columns), mesh_dim_names=names)
    plan, model = planned(), fsdp2(tensor_parallel(Decoder(), mesh["tp"]), mesh["replicate", "dp"])
    poison(model)
    plan.apply_(model)
    found = differing(plan, gathered(model))
    return found + [str(d) for d in fanin.fingerprint(model, gather=True).diff(of_one({}))]


def run_from_mesh_to_mesh():
    """Saved by torch from FSDP2 and loaded into tensor parallelism: the plan and the certificate still hold."""
    import torch.distributed.checkpoint as checkpoint

    place = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(place, 0)
    plan, model, other = planned(), fsdp2(Decoder()), tensor_parallel(Decoder())
    plan.apply_(model)
    checkpoint.save(model.state_dict(), checkpoint_id=place[0])
    loaded = other.state_dict()
    checkpoint.load(loaded, checkpoint_id=place[0])
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(place[0])
    wrong = [str(d) for d in fanin.fingerprint(other, gather=True).diff(fanin.fingerprint(model))]
    return wrong if plan.verify(other, bits=True).ok else [*wrong, "verify"]


def run_orthogonal():
    """Shards of an orthogonal matrix: as the whole one of this machine, and within 2e-6 of the one in float64."""
    from torch.distributed.tensor import Shard, empty

    mesh, law, key, wrong = mesh_of("dp"), Orthogonal(), fanin.key(3, "w"), []
    for shape in ((96, 64), (64, 96), (70, 70)):
        whole = torch.empty(shape)
        law.fill_(whole, key=key)
        exact = law.sample(shape, key=key, dtype="float64")
        for axis in (0, 1):
            spread = empty(*shape, device_mesh=mesh, placements=[Shard(axis)])
            law.fill_(spread, key=key)
            found = spread.full_tensor()
            off = np.abs(found.double().numpy() - exact).max()
            wrong += [] if torch.equal(found, whole) and off < 2e-6 else [f"{shape} {axis}: {off}"]
    return wrong


def has_deepspeed():
    return importlib.util.find_spec("deepspeed") is not None


def run_zero3():
    """ZeRO-3: parts filled in place, gathered by DeepSpeed; refused once an optimizer holds the values."""
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": str(dist.get_rank())}
    import deepspeed

    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
    settings = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    with deepspeed.zero.Init(config_dict_or_path=settings, dtype=torch.float32):
        model = Decoder()
    plan, named = planned(), dict(model.named_parameters(remove_duplicate=False))
    fanin.poison_(model)
    assert all(p.ds_tensor[: p.ds_numel - dist.get_rank() * p.ds_tensor.numel()].isnan().all() for p in named.values())
    plan.apply_(model)
    assert plan.verify(model, bits=True).ok
    wrong = [str(d) for d in fanin.fingerprint(model).diff(of_one({}))]
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        wrong += differing(plan, named)
    taken = next(model.parameters())
    taken._z3_optimizer = object()  # as deepspeed.initialize leaves it
    before = taken.ds_tensor.clone()
    try:
        plan.apply_(model)
        wrong.append("taken after deepspeed.initialize")
    except fanin.errors.PlanError as error:
        wrong += [] if "before deepspeed.initialize" in str(error) else [str(error)]
    same = torch.equal(before.nan_to_num(), taken.ds_tensor.nan_to_num())  # the padding is poisoned too
    return wrong if same else [*wrong, "written after deepspeed.initialize"]


def run_certificates():
    """A shard that was skipped, doubled or exchanged, and a replica that differs: each is named, by every process."""
    whole, wrong, world = of_one({}), [], dist.get_world_size()

    def changed(way, change):
        model = WAYS[way](Decoder())
        planned().apply_(model)
        assert not fanin.fingerprint(model).diff(whole)
        held = model.layers[0].up.weight
        with torch.no_grad():
            change(held.to_local())
        try:
            return [d.name for d in fanin.fingerprint(model).diff(whole)]
        except fanin.errors.CertificateError as error:
            return [line.split(":")[0].strip() for line in str(error).splitlines()[1:]]

    def from_rank(local, source):
        everyone = [None] * world
        dist.all_gather_object(everyone, local.clone())
        if everyone[source].shape == local.shape:
            local.copy_(everyone[source])

    def skip(local):
        if dist.get_rank() == world - 1:
            local.zero_()

    cases = {
        "skipped": ("FSDP2", skip),
        "doubled": ("FSDP2", lambda local: from_rank(local, 0)),
        "exchanged": ("FSDP2", lambda local: from_rank(local, {0: 1, 1: 0}.get(dist.get_rank(), dist.get_rank()))),
        "a replica": ("HSDP" if world % 2 == 0 and world > 2 else "DDP", skip),
    }
    if cases["a replica"][0] == "DDP":
        model = WAYS["DDP"](planned().apply_(Decoder()))
        with torch.no_grad():
            skip(model.module.layers[0].up.weight)
        try:
            found = fanin.fingerprint(model, gather=True).diff(whole)
            wrong += [] if world == 1 and [d.name for d in found] == ["layers.0.up.weight"] else ["replica passed"]
        except fanin.errors.CertificateError as error:
            wrong += [] if "layers.0.up.weight: the copies" in str(error) else [str(error)]
        del cases["a replica"]
    if world == 1:  # nothing to double or exchange
        cases = {"skipped": cases["skipped"]}
    for case, (way, change) in cases.items():
        found = changed(way, change)
        wrong += [] if found == ["layers.0.up.weight"] else [f"{case}: {found}"]
    return wrong + unreadable_in_one()


def unreadable_in_one():
    """One process cannot read its weights: every process raises, and none waits."""
    model = Decoder()
    if dist.get_rank() == 0:
        model.head.weight = nn.Parameter(torch.empty(37, 30, device="meta"))
    try:
        fanin.fingerprint(model, gather=True)
        return ["read from meta"]
    except fanin.errors.CertificateError as error:
        return [] if "process 0" in str(error) and "head.weight" in str(error) else [str(error)]


OTHERS = {
    "certificates": run_certificates,
    "stages": run_stages,
    "refusals": run_refusals,
    "gathered": run_gathered,
    "orthogonal": run_orthogonal,
    "three axes": run_three_axes,
    "from mesh to mesh": run_from_mesh_to_mesh,
}
ASIDE = {"ZeRO-3": run_zero3}  # what needs a library that may be absent


# ---------------------------------------------------------------------- processes
def main(world, store, *cases):
    """A group of processes: copies of this one, so that all that is large is imported once."""
    for name in ("checkpoint.state_dict", "fsdp", "tensor.debug", "tensor.parallel"):
        importlib.import_module(f"torch.distributed.{name}")
    running = set()
    for rank in range(world):
        if pid := os.fork():
            running.add(pid)
            continue
        status = 1
        try:
            one(rank, world, store, *cases)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while running:
        pid, status = os.wait()
        running.discard(pid)
        if status:  # the others would wait for it
            for other in running:
                os.kill(other, signal.SIGKILL)
            sys.exit(1)


def one(rank, world, store, *cases):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", rank=rank, world_size=world, store=dist.FileStore(store, world))
    found = {}
    for case in cases:
        if case in OTHERS | ASIDE:
            found[case] = (OTHERS | ASIDE)[case]()
            continue
        for from_meta in (False, True):
            if not (from_meta and case in NOT_FROM_META):
                found[f"{case}, from {'meta' if from_meta else 'memory'}"] = run_case(case, from_meta)
        dist.barrier()
    Path(f"{store}.{rank}.json").write_text(
        json.dumps(found), encoding="utf-8"
    )  # a pipe may mix what two processes say
    dist.barrier()
    dist.destroy_process_group()


def start(folder, world, cases, timeout=280):
    """Run the cases in `world` processes; what each process found."""
    paths = [str(Path(fanin.__file__).parents[1]), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(world)}
    group = subprocess.Popen(
        [sys.executable, "-m", "tests.planning.spread", str(world), str(folder / "store"), *cases],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, err = group.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)
    assert group.returncode == 0, err[-4000:]
    return [json.loads((folder / f"store.{rank}.json").read_text(encoding="utf-8")) for rank in range(world)]


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
