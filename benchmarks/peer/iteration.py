"""One iteration of Algorithm 1 in PyTorch: discriminator, generator and encoder updates, and the moving average."""

import contextlib
import copy

import torch

from benchmarks.peer.layers import number_layers, spectral_scales
from benchmarks.peer.mixture import Mixture, gaussian_nll
from benchmarks.peer.networks import DiscriminatorHead, EncoderHead, Generator, Trunk
from benchmarks.peer.settings import Settings, Variant


def _split(values, steps):
    return values.unflatten(0, (steps, values.shape[0] // steps))


class Peer:
    """Networks, prior, optimizers and moving average, and the iteration that advances them in place.

    `generator` draws the initial weights, on the CPU; a `dtype` other than float32 is for tests.
    """

    def __init__(self, settings: Settings, variant: Variant, device, generator: torch.Generator, dtype=torch.float32):
        if variant.graph and torch.device(device).type != "cuda":
            raise ValueError(f"the variant graph needs a CUDA device, not {device}; leave it out.")
        self.settings, self.variant, self.device = settings, variant, torch.device(device)
        self.generator = Generator(settings, variant.rewritten)
        self.trunk = Trunk(settings, variant.rewritten)
        self.discriminator = DiscriminatorHead(settings, variant.rewritten)
        self.encoder = EncoderHead(settings, variant.rewritten)
        self.mixture = Mixture(settings)
        number_layers(self.trunk, self.encoder)
        for network in self.parts.values():
            _initialise(network, generator)
            network.to(self.device, dtype)
            if variant.channels_last:
                network.to(memory_format=torch.channels_last)
        self.generator_layers = number_layers(self.generator)
        self.encoder_layers = number_layers(self.trunk, self.encoder)
        self.discriminator_layers = number_layers(self.trunk, self.discriminator)
        self._frozen_by_generator = [*self.trunk.parameters(), *self.discriminator.parameters()]
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.iteration = 0
        self._make_optimizers()
        compiled = torch.compile(dynamic=False, fullgraph=True) if variant.compiled else lambda function: function
        self._generate = compiled(torch.no_grad()(self._fakes))
        self._discriminator_loss = compiled(self._score_both)
        self._generator_loss = compiled(self._score_fakes)
        self._encoder_loss = compiled(self._infer)
        self._prior_loss = compiled(self._fit_prior)

    @property
    def parts(self):
        """The modules by name."""
        names = ("generator", "trunk", "discriminator", "encoder", "mixture")
        return {name: getattr(self, name) for name in names}

    def _make_optimizers(self):
        settings = self.settings

        def adam(rate, *modules):
            parameters = [parameter for module in modules for parameter in module.parameters()]
            betas = (settings.beta1, settings.beta2)
            options = {"eps": settings.epsilon, "fused": True, "capturable": self.variant.graph}
            return torch.optim.Adam(parameters, rate, betas, **options)

        self.discriminator_adam = adam(settings.learning_rate, self.trunk, self.discriminator)
        self.generator_adam = adam(settings.learning_rate, self.generator)
        self.encoder_adam = adam(settings.learning_rate, self.trunk, self.encoder)
        self.prior_adam = adam(settings.prior_learning_rate, self.mixture)
        shared = settings.prior_optimizers == "shared"
        self.prior_generator_adam = self.prior_adam if shared else adam(settings.learning_rate, self.mixture)

    def _mixed(self):
        if self.variant.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _decode(self, z, y, passes):
        scales = spectral_scales(self.generator_layers, passes, self.settings.spectral_epsilon)
        with self._mixed():
            return self.generator(z, y, scales)

    def _score(self, images):
        scales = spectral_scales(self.discriminator_layers, 1, self.settings.spectral_epsilon)
        with self._mixed():
            return self.discriminator(self.trunk(images, scales), scales).to(images.dtype)

    def _fakes(self, y, eps):
        """Latents and images of T passes of the frozen generator. Args: y [T, B]; eps [T, B, J]."""
        z = self.mixture.sample(y.flatten(), eps.flatten(0, 1))
        fakes = self._decode(z, y.flatten(), y.shape[0]).to(eps.dtype)
        return _split(z, y.shape[0]), _split(fakes, y.shape[0])

    def _score_both(self, fakes, images):
        fake, real = self._score(torch.cat([fakes, images])).chunk(2)
        loss_real, loss_fake = (1.0 - real).relu().mean(), (1.0 + fake).relu().mean()
        return loss_real + loss_fake, loss_real.detach(), loss_fake.detach()

    def _score_fakes(self, y, eps):
        z = self.mixture.sample(y, eps)
        return -self._score(self._decode(z, y, 1).to(eps.dtype)).mean()

    def _infer(self, fakes, z):
        scales = spectral_scales(self.encoder_layers, 1, self.settings.spectral_epsilon)
        with self._mixed():
            mean, log_var = self.encoder(self.trunk(fakes, scales), scales)
        return gaussian_nll(z, mean.to(z.dtype), log_var.to(z.dtype), self.settings.log_constant)

    def _fit_prior(self, y, eps):
        z = self.mixture.sample(y, eps)
        cross_entropy, negative_entropy = self.mixture.cross_entropy(z, y), self.mixture.negative_entropy()
        loss = cross_entropy + self.settings.prior_weight * negative_entropy
        return loss, z, cross_entropy.detach(), negative_entropy.detach()

    def _passes(self, y, eps):
        """Latents and images of several passes: as one batch, or one after the other when they are asked for."""
        if self.variant.batched:
            yield from zip(*self._generate(y, eps), strict=True)
            return
        for step in range(y.shape[0]):
            z, fakes = self._generate(y[step : step + 1], eps[step : step + 1])
            yield z[0], fakes[0]

    def _train_discriminator(self, images, y, eps):
        losses = []
        for (_, fakes), real in zip(self._passes(y, eps), images, strict=True):
            self.discriminator_adam.zero_grad()
            loss, *parts = self._discriminator_loss(fakes, real)
            loss.backward()
            self.discriminator_adam.step()
            losses.append(torch.stack(parts))
        return torch.stack(losses, 1)

    def _train_generator(self, y, eps):
        for parameter in self._frozen_by_generator:
            parameter.requires_grad_(False)
        self.generator_adam.zero_grad()
        self.mixture.zero_grad()
        loss = self._generator_loss(y, eps)
        loss.backward()
        self.generator_adam.step()
        self.prior_generator_adam.step()
        self.mixture.project()
        for parameter in self._frozen_by_generator:
            parameter.requires_grad_(True)
        return loss.detach()

    def _train_encoder(self, y, eps):
        """The first step moves the prior too; the later ones see the prior that it left."""
        size = self.settings.image_channels * self.settings.resolution**2
        _, fakes = next(self._passes(y[:1], eps[:1]))
        self.encoder_adam.zero_grad()
        self.mixture.zero_grad()
        prior_loss, z, *prior_losses = self._prior_loss(y[0], eps[0])
        nll = self._encoder_loss(fakes, z if self.settings.latent_gradient else z.detach())
        (nll / size + prior_loss).backward()
        self.encoder_adam.step()
        self.prior_adam.step()
        self.mixture.project()
        losses = [nll.detach()]
        if y.shape[0] == 1:
            return torch.stack(losses), prior_losses
        for z, fakes in self._passes(y[1:], eps[1:]):
            self.encoder_adam.zero_grad()
            nll = self._encoder_loss(fakes, z)
            (nll / size).backward()
            self.encoder_adam.step()
            losses.append(nll.detach())
        return torch.stack(losses), prior_losses

    def update(self, images: torch.Tensor, y: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
        """All of the iteration but the moving average; nothing waits for the losses that it returns.

        Args:
            images: in [-1, 1], [D_steps, B, C, H, W].
            y: components in the order D_steps, generator, E_steps: [D_steps + 1 + E_steps, B].
            eps: standard normal, in the same order.
        """
        steps = images.shape[0]
        real, fake = self._train_discriminator(images, y[:steps], eps[:steps])
        generator_loss = self._train_generator(y[steps], eps[steps])
        nll, (cross_entropy, negative_entropy) = self._train_encoder(y[steps + 1 :], eps[steps + 1 :])
        return {
            "discriminator_loss_real": real,
            "discriminator_loss_fake": fake,
            "generator_loss": generator_loss,
            "encoder_nll": nll,
            "membership_cross_entropy": cross_entropy,
            "prior_negative_entropy": negative_entropy,
        }

    @torch.no_grad()
    def update_average(self) -> None:
        """Counts the iteration and moves the average of the generator's weights, statistics and u."""
        self.iteration += 1
        newest, average = (
            [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
            for module in (self.generator, self.average)
        )
        if self.iteration < self.settings.ema_start:
            torch._foreach_copy_(average, newest)
        else:
            torch._foreach_lerp_(average, newest, 1.0 - self.settings.ema_decay)


def _initialise(network, generator):
    """Weights N(0, 0.02) (tables of components: the same), u standard normal; everything else stays."""
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("weight", "u"):
                tensor.normal_(0.0, 0.02 if leaf == "weight" else 1.0, generator=generator)
            elif name == "mean" and tensor.requires_grad:
                torch.nn.init.orthogonal_(tensor, generator=generator)
