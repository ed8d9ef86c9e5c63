"""Alarms: signs that a run which goes on has collapsed, or is about to."""

SATURATING = ("hinge", "non_saturating", "least_squares")


def signs_of_collapse(config, values):
    """Which signs of collapse a line of the log shows.

    Args:
      config: the configuration.
      values: means of the metrics and the look at the state, by name.

    Returns:
      By name of the sign, a sentence if it is there, else None.
    """
    limits, clusters, sigma_min = config.alarms, config.model.num_clusters, config.prior.sigma_min
    empty = values["probe_empty_clusters"]
    sigma_mean, sigma_max = values["prior_sigma_mean"], values["prior_sigma_max"]
    loss = values["discriminator_loss_real"] + values["discriminator_loss_fake"]
    mixture, saturating = config.prior.kind == "gaussian_mixture", config.loss.adversarial in SATURATING
    signs = {
        "dead_clusters": (clusters > 1 and empty > 0, f"{empty:.0f} of {clusters} clusters hold no image"),
        "sigma_at_floor": (
            mixture and sigma_mean <= limits.sigma_floor_ratio * sigma_min,
            f"the prior's sigma is {sigma_mean:.3f} on average, at its floor of {sigma_min}",
        ),
        "sigma_running_away": (
            mixture and sigma_max > limits.sigma_max,
            f"the prior's sigma has reached {sigma_max:.1f}",
        ),
        "discriminator_saturated": (
            saturating and loss < limits.discriminator_loss,
            f"the discriminator tells all images apart (its losses add up to {loss:.4f}): the generator learns little",
        ),
    }
    return {name: sentence if is_there else None for name, (is_there, sentence) in signs.items()}


class Alarms:
    """Remembers which signs are there, so that each is reported once when it has come to stay."""

    def __init__(self, config):
        """Args: config: the configuration."""
        self._config, self._seen, self._reported = config, {}, set()

    def check(self, iteration, values):
        """Looks at a line of the log.

        Args:
          iteration: finished iterations.
          values: by name.

        Returns:
          alarm_* by name, 1 while a sign is there and reported, else 0; and a sentence for each that is new or over.
        """
        patience, sentences = self._config.alarms.patience, []
        signs = signs_of_collapse(self._config, values)
        for name, sentence in signs.items():
            known = iteration >= self._config.alarms.after and sentence
            self._seen[name] = self._seen.get(name, 0) + 1 if known else 0
            if self._seen[name] == patience:
                self._reported.add(name)
                sentences.append(f"iteration {iteration}: {sentence} ({patience} lines of the log in a row).")
            if not known and name in self._reported:
                self._reported.remove(name)
                sentences.append(f"iteration {iteration}: the alarm about {name.replace('_', ' ')} is over.")
        return {f"alarm_{name}": int(name in self._reported) for name in signs}, sentences
