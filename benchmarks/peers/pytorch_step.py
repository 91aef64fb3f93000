#!/usr/bin/env python3
"""PyTorch at its best on the steps of `ghostbatch bench --suite step --backend cuda`, from loading to SGD.

  benchmarks/peers/pytorch_step.py [--networks resnet44,wrn-16-4,f1,lenet] [--batch B] [--ghost V|none]
      [--precisions bf16,f32] [--spellings ...] [--augment pad-crop-flip] [--layers] [--out FILE.json]

Samples lie on the GPU; each step draws some there, and where asked pads, crops and flips them; gradients are clipped.
Networks are compiled, in channels_last, under autocast for bf16 and without TF32 for f32; a step is one CUDA graph.
Ghost batch norm has four spellings: accumulate (ghost after ghost through plain batch norm, gradients added up), chunk
(a batch norm for each ghost, then cat), fold (ghosts laid into the channels of one batch norm) and moments (mean and
variance of [ghosts, V, ...], for the compiler to fuse). All take turns; the fastest takes part once more with --compile
max-autotune. First they are held against a plain loop over ghosts, in double on the CPU. Networks that --out has
figures of already are not measured again.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

MOMENTUM = 0.1
EPSILON = 1e-5
GHOST_SPELLINGS = ("accumulate", "chunk", "fold", "moments")
SPELLINGS = ("plain",) + GHOST_SPELLINGS
CLASSES = 10
SAMPLES = 50_000

# As Suites.java has them: network, batch, ghost (0: none), precision.
SUITE = (
    ("resnet44", 4096, 128, "bf16"),
    ("resnet44", 4096, 128, "f32"),
    ("wrn-16-4", 1024, 128, "bf16"),
    ("f1", 6000, 0, "bf16"),
    ("f1", 6000, 0, "f32"),
    ("lenet", 4096, 0, "bf16"),
)


class GhostNorm(nn.Module):
    """Batch norm of [N, C] or [N, C, H, W] within runs of samples; running statistics are updated ghost after ghost."""

    def __init__(self, channels, spelling, ghosts):
        super().__init__()
        self.spelling = spelling
        self.ghosts = ghosts
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        # What each ghost's own statistics weigh in the running ones, the last one most.
        weights = [MOMENTUM * (1 - MOMENTUM) ** (ghosts - 1 - k) for k in range(ghosts)]
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, x):
        if not self.training:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, MOMENTUM, EPSILON)
        return getattr(self, self.spelling)(x)

    def plain(self, x):
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, True, MOMENTUM, EPSILON)

    accumulate = plain

    def chunk(self, x):
        return torch.cat([self.plain(ghost) for ghost in x.chunk(self.ghosts)])

    def fold(self, x):
        rows, channels = x.shape[0] // self.ghosts, x.shape[1]
        folded = x.unflatten(0, (self.ghosts, rows)).transpose(0, 1).flatten(1, 2)
        if x.dim() == 4:
            folded = folded.contiguous(memory_format=torch.channels_last)
        # With momentum 1 these come out as the ghosts' own.
        means = self.mean.repeat(self.ghosts)
        variances = self.variance.repeat(self.ghosts)
        weight, bias = self.weight.repeat(self.ghosts), self.bias.repeat(self.ghosts)
        y = F.batch_norm(folded, means, variances, weight, bias, True, 1.0, EPSILON)
        self.commit(means.view(self.ghosts, channels), variances.view(self.ghosts, channels))
        y = y.unflatten(1, (self.ghosts, channels)).transpose(0, 1).flatten(0, 1)
        return y.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else y

    def moments(self, x):
        ghosts = x.unflatten(0, (self.ghosts, x.shape[0] // self.ghosts))
        wide = ghosts if ghosts.dtype == torch.float64 else ghosts.float()
        dims = (1,) if x.dim() == 2 else (1, 3, 4)
        variance, mean = torch.var_mean(wide, dims, correction=0, keepdim=True)
        shape = (-1,) + (1,) * (x.dim() - 2)
        y = (wide - mean) * torch.rsqrt(variance + EPSILON) * self.weight.view(shape) + self.bias.view(shape)
        values = wide.numel() // (self.ghosts * x.shape[1])
        channels = (self.ghosts, x.shape[1])
        self.commit(mean.detach().view(channels), variance.detach().view(channels) * (values / (values - 1)))
        return y.to(x.dtype).flatten(0, 1)

    def commit(self, means, variances):
        kept = (1 - MOMENTUM) ** self.ghosts
        with torch.no_grad():
            self.mean.mul_(kept).add_(self.weights @ means)
            self.variance.mul_(kept).add_(self.weights @ variances)


class Block(nn.Module):
    """Two convolutions 3x3, and a shortcut that is a convolution 1x1 where the size changes."""

    def __init__(self, channels, filters, stride, norm):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False), norm(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False), norm(filters))
        self.shortcut = nn.Identity()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), norm(filters))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(depth, width, norm):
    """Hoffer's: 16, 32, 64 channels times `width`, (depth - 2) / 6 blocks a stage, rounded down."""
    channels = 16 * width
    layers = [nn.Conv2d(3, channels, 3, 1, 1, bias=False), norm(channels), nn.ReLU()]
    for stage in range(3):
        for block in range((depth - 2) // 6):
            filters = 16 * width << stage
            layers.append(Block(channels, filters, 2 if stage > 0 and block == 0 else 1, norm))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def f1(norm):
    layers, width = [nn.Flatten()], 28 * 28
    for _ in range(5):
        layers += [nn.Linear(width, 512), norm(512), nn.ReLU()]
        width = 512
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def lenet(norm):
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2, bias=False), norm(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2, bias=False), norm(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 512, bias=False), norm(512), nn.ReLU(), nn.Linear(512, CLASSES))


NETWORKS = {
    "resnet44": lambda norm: resnet(44, 1, norm),
    "wrn-16-4": lambda norm: resnet(16, 4, norm),
    "f1": f1,
    "lenet": lenet,
}
PARAMETERS = {"resnet44": 661_338, "wrn-16-4": 2_777_674, "f1": 1_462_794, "lenet": 1_663_978}


def build(name, spelling, ghosts):
    """The network for ghosts that lie side by side in its batch, of which accumulate sees one at a time."""
    aside = 1 if spelling in ("plain", "accumulate") else ghosts
    return NETWORKS[name](lambda channels: GhostNorm(channels, spelling, aside))


def images_of(name):
    """Height, width and channels: MNIST's or CIFAR's."""
    return (32, 32, 3) if name in ("resnet44", "wrn-16-4") else (28, 28, 1)


class Samples:
    """Images as bytes, padded by 4 where they are to be cropped, and labels, all on the device."""

    PAD = 4

    def __init__(self, name, batch, augment, device, count=SAMPLES):
        self.shape = images_of(name)
        self.batch = batch
        self.pad = self.PAD if augment else 0
        height, width, channels = self.shape
        images = torch.randint(256, (count, height, width, channels), dtype=torch.uint8, device=device)
        pad = (0, 0, self.pad, self.pad, self.pad, self.pad)
        self.images = F.pad(images, pad)
        self.labels = torch.randint(CLASSES, (count,), device=device)

    def load(self):
        """A batch of them, [batch, C, H, W] in channels_last."""
        height, width, _ = self.shape
        device = self.images.device
        rows = torch.randint(len(self.labels), (self.batch, 1, 1), device=device)
        y = torch.arange(height, device=device).view(1, -1, 1)
        x = torch.arange(width, device=device).view(1, 1, -1)
        if self.pad:
            top, left = torch.randint(2 * self.pad + 1, (2, self.batch, 1, 1), device=device)
            flip = torch.randint(2, (self.batch, 1, 1), device=device, dtype=torch.bool)
            y = y + top
            x = torch.where(flip, width - 1 - x, x) + left
        images = self.images[rows, y, x].float().mul(2 / 255).sub(1)
        return images.permute(0, 3, 1, 2), self.labels[rows.view(-1)]


class Step:
    """One update of a network; on a GPU a graph that is replayed."""

    def __init__(self, case, spelling, compiled, samples, device):
        ghosts = case.batch // case.ghost if case.ghost else 1
        self.spelling, self.compiled = spelling, compiled
        self.passes = ghosts if spelling == "accumulate" else 1
        self.samples = samples
        torch.manual_seed(1)
        self.model = build(case.network, spelling, ghosts).to(device, memory_format=torch.channels_last)
        self.parameters = list(self.model.parameters())
        fused = {"fused": True} if device == "cuda" else {"foreach": True}
        self.optimizer = torch.optim.SGD(self.parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4, **fused)
        bf16 = case.precision == "bf16"

        def loss(images, labels):
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = self.model(images)
            return F.cross_entropy(logits.float(), labels)

        self.load, self.loss = samples.load, loss
        if compiled != "none":
            # Graphs are this class's own, of the whole step.
            mode = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}[compiled]
            self.load = torch.compile(samples.load, dynamic=False)
            self.loss = torch.compile(loss, dynamic=False, mode=mode)
        self.first = self.parameters[0].detach().clone()
        self.run = self.capture() if device == "cuda" else self.update
        self.run()

    def update(self):
        self.optimizer.zero_grad(set_to_none=True)
        images, labels = self.load()
        for x, y in zip(images.chunk(self.passes), labels.chunk(self.passes)):
            (self.loss(x, y) / self.passes).backward()
        nn.utils.clip_grad_norm_(self.parameters, 5, foreach=True)
        self.optimizer.step()

    def capture(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, chooses kernels, makes the optimizer's buffers
                self.update()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.update()
        self.first = self.parameters[0].detach().clone()
        return self.graph.replay

    def check(self):
        """What was measured has trained."""
        finite = all(bool(p.isfinite().all()) for p in self.parameters)
        if not finite or torch.equal(self.first, self.parameters[0].detach()):
            raise RuntimeError("needs parameters that move and are finite, got others")


def timed(run, seconds, device):
    """Mean seconds of a run, over at least so many seconds."""
    if device == "cpu":
        start, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - start < seconds:
            run()
            runs += 1
        return (time.perf_counter() - start) / runs

    def several(runs):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(runs):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / runs

    return several(max(1, round(seconds / max(several(2), 1e-6))))


class TooLong(BaseException):
    """Not an Exception: the compiler catches some of those."""


@contextlib.contextmanager
def at_most(seconds):
    """Raises TooLong in what takes longer; 0: nothing does."""

    def stop(*_):
        raise TooLong(f"needs more than {seconds:g} s to be prepared")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Case:
    def __init__(self, network, batch, ghost, precision):
        if ghost and batch % ghost:
            raise SystemExit(f"pytorch_step: needs ghosts that divide the batch, got {ghost} of {batch}")
        self.network, self.batch, self.ghost, self.precision = network, batch, ghost, precision

    def key(self):
        return {"network": self.network, "batch": self.batch, "ghost": self.ghost, "precision": self.precision}

    def spellings(self, wanted):
        return [s for s in wanted if (s in GHOST_SPELLINGS) == bool(self.ghost)]


def peak(device):
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0


def measure(case, arguments):
    """Rows of all spellings, the fastest marked; of one that fails, why."""
    device = arguments.device
    augment = arguments.augment == "pad-crop-flip" and images_of(case.network)[2] == 3
    torch._dynamo.reset()
    samples = Samples(case.network, case.batch, augment, device, arguments.samples)
    rows, steps = [], []

    def add(spelling, compiled):
        augmented = "pad-crop-flip" if augment else "none"
        row = {**case.key(), "augment": augmented, "spelling": spelling, "compile": compiled}
        rows.append(row)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() if device == "cuda" else 0
        start = time.perf_counter()
        try:
            with at_most(arguments.prepare_seconds):
                step = Step(case, spelling, compiled, samples, device)
        except (Exception, TooLong) as error:  # pylint: disable=broad-except: the others still count
            torch._dynamo.reset()
            row["error"] = f"{type(error).__name__}: {error}"[:500]
            return
        row.update(prepared_seconds=time.perf_counter() - start, peak_bytes=peak(device) - held)
        steps.append((row, step, []))

    def turns():
        for _, _, times in steps:
            times.clear()
        for _ in range(arguments.rounds):
            for _, step, times in steps:
                times.append(timed(step.run, arguments.seconds, device))
        return min(steps, key=lambda each: statistics.median(each[2]), default=None)

    for spelling in case.spellings(arguments.spellings):
        add(spelling, arguments.compile)
    fastest = turns()
    if fastest and arguments.compile == "default" and device == "cuda":
        add(fastest[0]["spelling"], "max-autotune")
        fastest = turns()
    for row, step, times in steps:
        try:
            step.check()
        except RuntimeError as error:
            row["error"] = str(error)
            continue
        rates = [case.batch / seconds for seconds in times]
        row.update(
            images_per_second=statistics.median(rates), least=min(rates), most=max(rates),
            ms=1e3 * statistics.median(times), fastest=row is fastest[0])
    return rows


def convolutions(case, arguments):
    """Each convolution of the network alone, forward and both of its gradients, in channels_last."""
    device, dtype = arguments.device, torch.bfloat16 if case.precision == "bf16" else torch.float32
    model = build(case.network, "plain", 1).to(device).eval()
    found = {}

    def seen(layer, inputs, _):
        key = (tuple(inputs[0].shape[1:]), layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        found[key] = found.get(key, 0) + 1

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(seen)
    height, width, channels = images_of(case.network)
    with torch.no_grad():
        model(torch.zeros(1, channels, height, width, device=device))
    rows = []
    for (shape, filters, kernel, stride, padding), count in found.items():
        def tensor(*sizes):
            return torch.randn(sizes, device=device).to(dtype).contiguous(memory_format=torch.channels_last)

        x, weight = tensor(case.batch, *shape), tensor(filters, shape[0], *kernel)
        y = F.conv2d(x, weight, None, stride, padding)
        dy = torch.randn_like(y)

        def backward(data, weights):
            mask = [data, weights, False]
            return lambda: torch.ops.aten.convolution_backward(
                dy, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, mask)

        flops = 2 * y.numel() * shape[0] * kernel[0] * kernel[1]
        for direction, run in (
                ("forward", lambda: F.conv2d(x, weight, None, stride, padding)),
                ("backward-data", backward(True, False)),
                ("backward-weights", backward(False, True))):
            run()
            times = [timed(run, arguments.seconds / 5, device) for _ in range(arguments.rounds)]
            seconds = statistics.median(times)
            rows.append({
                **case.key(), "input": shape, "filters": filters, "kernel": kernel[0], "stride": stride[0],
                "count": count, "direction": direction, "ms": 1e3 * seconds, "tflops": flops / seconds / 1e12})
    return rows


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def check_ghosts():
    """Every spelling against a plain loop over ghosts, in double on the CPU: one layer, and an update of LeNet."""
    torch.manual_seed(2)
    ghosts, rows = 3, 5
    for shape in ((ghosts * rows, 4), (ghosts * rows, 4, 3, 2)):
        x, dy = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
        weight, bias = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
        axes = (0,) if x.dim() == 2 else (0, 2, 3)
        view = (1, 4) + (1,) * (x.dim() - 2)

        def loop(x, weight, bias):
            mean, variance, parts = torch.zeros(4).double(), torch.ones(4).double(), []
            for k in range(ghosts):
                ghost = x[k * rows:(k + 1) * rows]
                m, v = ghost.mean(axes), ((ghost - ghost.mean(axes).view(view)) ** 2).mean(axes)
                normal = (ghost - m.view(view)) / (v.view(view) + EPSILON).sqrt()
                parts.append(normal * weight.view(view) + bias.view(view))
                n = ghost.numel() // 4
                mean = 0.9 * mean + 0.1 * m.detach()
                variance = 0.9 * variance + 0.1 * v.detach() * n / (n - 1)
            return torch.cat(parts), mean, variance

        arguments = [t.clone().requires_grad_() for t in (x, weight, bias)]
        y, mean, variance = loop(*arguments)
        expected = (y.detach(), mean, variance) + torch.autograd.grad(y, arguments, dy)
        for spelling in ("chunk", "fold", "moments"):
            norm = GhostNorm(4, spelling, ghosts).double()
            norm.weights = torch.tensor([0.081, 0.09, 0.1], dtype=torch.float64)
            with torch.no_grad():
                norm.weight.copy_(weight)
                norm.bias.copy_(bias)
            mine = x.clone().requires_grad_()
            y = norm(mine)
            gradients = torch.autograd.grad(y, (mine, norm.weight, norm.bias), dy)
            worst = max(map(relative, (y.detach(), norm.mean, norm.variance) + gradients, expected))
            if not worst < 1e-12:
                raise SystemExit(f"pytorch_step: {spelling} needs what a loop gives, differs by {worst:.1e}")
    gradients = {}
    x, labels = torch.randn(8, 1, 28, 28, dtype=torch.float64), torch.arange(8) % CLASSES
    for spelling in GHOST_SPELLINGS:
        torch.manual_seed(3)
        model = build("lenet", spelling, 2).double()
        passes = 2 if spelling == "accumulate" else 1
        for ghost, label in zip(x.chunk(passes), labels.chunk(passes)):
            (F.cross_entropy(model(ghost), label) / passes).backward()
        gradients[spelling] = torch.cat([p.grad.flatten() for p in model.parameters()])
        worst = relative(gradients[spelling], gradients["accumulate"])
        if not worst < 1e-10:
            raise SystemExit(f"pytorch_step: {spelling} needs accumulate's gradients of LeNet, differs by {worst:.1e}")
    for name, parameters in PARAMETERS.items():
        got = sum(p.numel() for p in build(name, "plain", 1).parameters())
        if got != parameters:
            raise SystemExit(f"pytorch_step: {name} needs {parameters} parameters, got {got}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def names(allowed):
        def split(text):
            chosen = text.split(",")
            unknown = [name for name in chosen if name not in allowed]
            if unknown:
                raise argparse.ArgumentTypeError(f"needs some of {','.join(allowed)}, got {text}")
            return chosen
        return split

    def ghost(text):
        return 0 if text == "none" else int(text)

    parser.add_argument("--networks", type=names(NETWORKS), help="default: the suite's, with its batches and ghosts")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--ghost", type=ghost, default=128)
    parser.add_argument("--precisions", type=names(("bf16", "f32")), default=["bf16", "f32"])
    parser.add_argument("--spellings", type=names(SPELLINGS), default=list(SPELLINGS))
    parser.add_argument("--compile", choices=("none", "default", "max-autotune"), default="default")
    parser.add_argument("--augment", choices=("none", "pad-crop-flip"), default="none", help="of 32x32 images")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="that lie on the device")
    parser.add_argument("--layers", action="store_true", help="also each convolution alone, by PyTorch's own call")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each spelling takes")
    parser.add_argument("--prepare-seconds", type=float, default=0, help="that a spelling may take; default: any time")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", help="JSON, complete after every network")
    parser.add_argument("--again", action="store_true", help="measure what --out holds already, too")
    return parser.parse_args()


def environment(device):
    on_gpu = device == "cuda"
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "rows": [],
        "layers": [],
    }


def show(rows):
    for row in rows:
        ghost = row["ghost"] or "none"
        what = f"{row['network']} {row['batch']}/{ghost} {row['precision']} {row['spelling']} ({row['compile']})"
        if "error" in row:
            print(f"{what:56} {row['error'].splitlines()[0]}")
        else:
            print(f"{what:56} {row['images_per_second']:12,.0f} images/s ({row['least']:,.0f}-{row['most']:,.0f})"
                  f" {row['peak_bytes'] >> 20:8,} MiB{'  *' if row['fastest'] else ''}")
    sys.stdout.flush()


def main():
    arguments = parse()
    if arguments.networks:
        cases = [Case(n, arguments.batch, arguments.ghost, p) for n in arguments.networks for p in arguments.precisions]
    else:
        cases = [Case(*each) for each in SUITE if each[3] in arguments.precisions]
    check_ghosts()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("pytorch_step: needs a GPU, got none")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    result = environment(arguments.device)
    if arguments.out and os.path.exists(arguments.out) and not arguments.again:
        with open(arguments.out, encoding="utf-8") as file:
            before = json.load(file)
        if all(before.get(key) == result[key] for key in ("torch", "cuda", "cudnn", "gpu")):
            result = before
    failed = False
    for case in cases:
        before = [row for row in result["rows"] if case.key().items() <= row.items()]
        if any("images_per_second" in row for row in before):
            continue
        result["rows"] = [row for row in result["rows"] if row not in before]  # nothing but errors
        result["layers"] = [row for row in result["layers"] if not case.key().items() <= row.items()]
        rows = measure(case, arguments)
        show(rows)
        failed |= not any("images_per_second" in row for row in rows)
        result["rows"] += rows
        if arguments.layers:
            result["layers"] += convolutions(case, arguments)
        if arguments.out:
            with open(arguments.out + ".part", "w", encoding="utf-8") as file:
                json.dump(result, file, indent=1)
                file.write("\n")
            os.replace(arguments.out + ".part", arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
