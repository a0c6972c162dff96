"""The configuration file: models, prices, routers, one section per chain, and the decision log, in YAML.

```yaml
models:
  large: {provider: openai, model: gpt-5, price: {input: 1.25, output: 10, cached_input: 0.125}}
  small: {provider: openai, model: gpt-5-nano, price: list, capabilities: {images: false, context_window: 128000}}
routers:
  main: {load: default}
chains:
  support: {strong: large, weak: small, router: main, strong_fraction: 0.3}
  summarise: {strong: large, weak: small, threshold: 0.62, sticky: true}
log: {path: decisions.jsonl}
```
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from routellm_core.constraints import Capabilities
from routellm_core.engine import RoutingEngine
from routellm_core.errors import ConfigurationError, RouteLLMError
from routellm_core.plan import OnRouterError, Plan, router_for_references
from routellm_core.policies import get_policy
from routellm_core.pricing import Price, look_up_price
from routellm_core.probability import ProbabilityCalibration
from routellm_core.registry import load_router
from routellm_core.routers.assumed import AssumedRouter
from routellm_core.routers.base import Router
from routellm_core.routers.calibrated import CalibratedRouter
from routellm_core.scoring import ScoringService
from routellm_core.sections import Section
from routellm_core.sessions import MemorySessionStore
from routellm_core.traffic import DecisionLog, LoggedPrompts


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceConfig(_Strict):
    """What a model charges, in US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)


def _price_kind(value: object) -> str:
    if isinstance(value, dict | PriceConfig):
        return "fields"
    return "word" if isinstance(value, str) else "number"


_AnyPrice = Annotated[
    Annotated[PriceConfig, Tag("fields")]
    | Annotated[float, Field(ge=0, strict=True), Tag("number")]
    | Annotated[Literal["list"], Tag("word")],
    Discriminator(_price_kind),
]


class CapabilitiesConfig(_Strict):
    """What a model can take; what is left out is asked of the model, else taken for yes."""

    tools: bool | None = None
    images: bool | None = None
    structured_output: bool | None = None
    context_window: int | None = Field(default=None, ge=1)


class ModelConfig(_Strict):
    """A language model that an adapter makes, or is given under this name."""

    provider: str | None = None
    """Who serves it, as LangChain's `init_chat_model` calls it ("openai"); None if the model is given as an object."""
    model: str | None = None
    """The provider's name of it."""
    arguments: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Constructor arguments; keys belong into the environment, not here."""
    price: _AnyPrice | None = None
    """A price, one number for input and output, "list" for the public list price (extra `prices`), or None if unknown."""
    capabilities: CapabilitiesConfig = CapabilitiesConfig()


class RouterConfig(_Strict):
    """A router and where it comes from."""

    load: str
    """What `load_router` takes: a registered name, a folder (relative to the file) or a Hub repository."""
    revision: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    """What else `load_router` takes for it."""
    pool: list[str] | None = None
    """For a router that knows many reference models: those to choose among (`router.for_pool`)."""
    pair: tuple[str, str] | None = None
    """The same for a pair, strong first (`router.for_pair`)."""
    probabilities: str | None = None
    """A file of `ProbabilityCalibration.save`, relative to this one, that maps its win rates to probabilities."""
    assumed: dict[str, str | float] = Field(default_factory=dict)
    """Models without labels: the model whose scores stand for it, or the share of prompts it is expected to get right."""


class ChainConfig(_Strict):
    """How the calls of one chain are routed."""

    strong: str | None = None
    weak: str | None = None
    candidates: list[str] | None = None
    references: dict[str, str] = Field(default_factory=dict)
    """Which model, or tier, of the router stands for each of the chain's models."""
    router: str = "default"
    policy: str = "threshold"
    threshold: float | None = Field(default=None, ge=0, le=1, strict=True)
    strong_fraction: float | None = Field(default=None, ge=0, le=1, strict=True)
    tools_route: str | None = None
    sticky: bool = False
    on_router_error: OnRouterError = "strong"
    score_timeout_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        pair = (self.strong, self.weak)
        if (None in pair) != (self.candidates is not None) or (None in pair and pair != (None, None)):
            raise ValueError("give strong and weak, or candidates (weakest first)")
        if self.threshold is not None and self.strong_fraction is not None:
            raise ValueError("give threshold or strong_fraction, not both")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models of this chain, weakest first."""
        if self.candidates is not None:
            return tuple(self.candidates)
        return self.weak or "", self.strong or ""


class LogConfig(_Strict):
    """The decision log; see `routellm_core.traffic.DecisionLog`."""

    path: str
    """The file, relative to the configuration."""
    prompts: LoggedPrompts = "hash"
    hash_key_env: str | None = None
    max_bytes: int = Field(default=100_000_000, ge=1)
    backups: int | None = Field(default=None, ge=0)


class _File(_Strict):
    models: dict[str, ModelConfig]
    routers: dict[str, RouterConfig] = Field(default_factory=dict)
    chains: dict[str, ChainConfig] = Field(min_length=1)
    log: LogConfig | None = None


class RoutingConfig:
    """A configuration that was read and checked; see the module's docstring for its form.

    Args:
        path: The YAML file.
        capabilities: What the models themselves say they can take; the file wins where it says something.

    Raises:
        ConfigurationError: If the file is missing or has a mistake; names the line, the key and what is allowed.
    """

    def __init__(self, path: str | os.PathLike[str], *, capabilities: Mapping[str, Capabilities] | None = None) -> None:
        self.path = Path(path)
        self._told = dict(capabilities or {})
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{self.path}: is not UTF-8 text") from error
        try:
            self._tree = yaml.compose(text, Loader=yaml.SafeLoader)
            data = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
            raise ConfigurationError(f"{self.path}{line}: not valid YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{self.path}: not valid YAML: {type(error).__name__}") from None
        self._refuse_repeated_keys(self._tree)
        if not isinstance(data, dict):
            raise ConfigurationError(f"{self.path}: must hold models, routers and chains")
        try:
            self._file = _File.model_validate(data)
        except ValidationError as error:
            raise ConfigurationError("\n".join(self._explain(mistake) for mistake in error.errors())) from None
        self._check_names()

    @property
    def models(self) -> Mapping[str, ModelConfig]:
        """The language models by name."""
        return self._file.models

    @property
    def chains(self) -> Mapping[str, ChainConfig]:
        """The chains by name."""
        return self._file.chains

    def chain_models(self) -> tuple[str, ...]:
        """Return the models that any chain routes among."""
        return tuple(dict.fromkeys(name for chain in self.chains.values() for name in chain.models))

    def with_capabilities(self, capabilities: Mapping[str, Capabilities]) -> "RoutingConfig":
        """Return the configuration with what the models themselves say they can take."""
        return RoutingConfig(self.path, capabilities=capabilities)

    def engine(self, chain: str) -> RoutingEngine:
        """Make the engine of a chain.

        Raises:
            ConfigurationError: If there is no such chain, or its router does not fit it.
        """
        return RoutingEngine.from_source(self, chain)

    def build_sections(self) -> dict[str, Section]:
        """Load the routers and return every chain, ready to decide.

        Raises:
            ConfigurationError: If a router cannot be loaded or does not fit a chain; names the chain and its line.
        """
        routers: dict[str, Router] = {}
        services: dict[tuple[str, tuple[str, ...], float | None, bool], ScoringService] = {}
        sections = {}
        for name, chain in self.chains.items():
            try:
                if chain.router not in routers:
                    routers[chain.router] = self._load(chain.router)
                router = router_for_references(routers[chain.router], chain.models, chain.references)
                plan = self._plan(chain, router)
                kind = (chain.router, router.models, chain.score_timeout_s, plan.uses_distance)
                if kind not in services:
                    services[kind] = ScoringService(
                        router, timeout_s=chain.score_timeout_s, with_distance=plan.uses_distance
                    )
                sections[name] = Section(plan=plan, scoring=services[kind], chain=name)
            except RouteLLMError as error:
                raise ConfigurationError(f"{self._where('chains', name)}: {error}") from error
        return sections

    def build_log(self) -> DecisionLog | None:
        """Return the decision log that the file asks for; None if it asks for none.

        Raises:
            ConfigurationError: If its folder is missing, or its key is not in the environment; names the line.
        """
        settings = self._file.log
        if settings is None:
            return None
        options = settings.model_dump() | {"path": self.path.parent / settings.path}
        try:
            return DecisionLog(**options)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._where('log')}: {error}") from error

    def prices(self) -> dict[str, Price]:
        """Return the price of every model that has one; looks up those that are "list".

        Raises:
            ConfigurationError: If no list price is known for one of those.
        """
        return {name: price for name in self.models if (price := self._price(name)) is not None}

    def _load(self, name: str) -> Router:
        spec = self._file.routers.get(name) or RouterConfig(load=name)
        folder = self.path.parent / spec.load
        router = load_router(
            str(folder) if folder.is_dir() and spec.load.startswith((".", "/")) else spec.load,
            revision=spec.revision,
            **spec.options,
        )
        changes: dict[str, tuple[Any, ...]] = {}
        if spec.pool is not None:
            changes["for_pool"] = (spec.pool,)
        if spec.pair is not None:
            changes["for_pair"] = spec.pair
        for method, arguments in changes.items():
            if not hasattr(router, method):
                raise ConfigurationError(
                    f"router {router.name!r} has no {method}: it knows {', '.join(router.models)} alone"
                )
            router = getattr(router, method)(*arguments)
        if spec.probabilities is not None:
            calibration = ProbabilityCalibration.load(self.path.parent / spec.probabilities)
            router = CalibratedRouter(router, calibration)
        if spec.assumed:
            router = AssumedRouter(
                router,
                like={model: given for model, given in spec.assumed.items() if isinstance(given, str)},
                capability={model: given for model, given in spec.assumed.items() if not isinstance(given, str)},
            )
        return router

    def _plan(self, chain: ChainConfig, router: Router) -> Plan:
        threshold = chain.threshold
        if chain.strong_fraction is not None:
            if router.thresholds is None:
                raise ConfigurationError(
                    f"strong_fraction needs a calibrated router, and {router.name!r} is not: give threshold"
                )
            threshold = router.thresholds.threshold_for(chain.strong_fraction)
        prices = {name: price for name in chain.models if (price := self._price(name)) is not None}
        if prices and len(prices) < len(chain.models):
            missing = ", ".join(name for name in chain.models if name not in prices)
            raise ConfigurationError(
                f"some models of this chain have a price and {missing} has none: price all or none"
            )
        return Plan(
            router=router,
            candidates=chain.models,
            policy=get_policy(chain.policy),
            references=chain.references,
            prices=prices,
            capabilities={name: self._capabilities(name) for name in chain.models},
            own_threshold=threshold,
            tools_route=chain.tools_route,
            on_router_error=chain.on_router_error,
            sessions=MemorySessionStore() if chain.sticky else None,
        )

    def _price(self, name: str) -> Price | None:
        model = self.models[name]
        if model.price is None:
            return None
        if model.price == "list":
            found = None if model.model is None else look_up_price(model.model, model.provider)
            if found is None:
                raise ConfigurationError(
                    f"no list price is known for model {model.model!r} of {name!r}: give the price"
                )
            return found
        return Price.parse(model.price.model_dump() if isinstance(model.price, PriceConfig) else float(model.price))

    def _capabilities(self, name: str) -> Capabilities:
        given = Capabilities(**self.models[name].capabilities.model_dump())
        return given.completed_by(self._told.get(name, Capabilities()))

    def _refuse_repeated_keys(self, node: yaml.Node | None) -> None:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise ConfigurationError(
                        f"{self.path}, line {line}: {key.value!r} stands here a second time, first in line {seen[key.value]}"
                    )
                seen[key.value] = line
                children.append(value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        for child in children:
            self._refuse_repeated_keys(child)

    def _check_names(self) -> None:
        for name, chain in self.chains.items():
            for model in chain.models:
                if model not in self.models:
                    key = (
                        "candidates" if chain.candidates is not None else "strong" if model == chain.strong else "weak"
                    )
                    allowed = ", ".join(self.models)
                    raise ConfigurationError(
                        f"{self._where('chains', name, key)}: no model {model!r}; there are: {allowed}"
                    )

    def _where(self, *path: str | int) -> str:
        """Return file, line and key of a place in the configuration."""
        node: yaml.Node | None = self._tree
        line = 1
        for step in path:
            child = _child(node, step)
            if child is None:
                break
            line, node = child
        return f"{self.path}, line {line}, {'.'.join(map(str, path)) or 'top level'}"

    def _explain(self, mistake: Mapping[str, Any]) -> str:
        steps = mistake["loc"]
        # After a price pydantic names the kind of price it took it for; that is no key of the file.
        path = [step for before, step in zip(("", *steps), steps, strict=False) if before != "price"]
        where = self._where(*path)
        if mistake["type"] == "extra_forbidden":
            allowed = _allowed_keys(path[:-1])
            close = difflib.get_close_matches(str(path[-1]), allowed, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return f"{where}: unknown key; {hint}allowed are: {', '.join(allowed)}"
        message = str(mistake["msg"]).removeprefix("Value error, ")
        return f"{where}: {message}"


def load_config(path: str | os.PathLike[str]) -> RoutingConfig:
    """Read a configuration file.

    Raises:
        ConfigurationError: If it is missing or has a mistake; names the line, the key and what is allowed.
    """
    return RoutingConfig(path)


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def _allowed_keys(path: Sequence[str | int]) -> list[str]:
    if not path:
        return list(_File.model_fields)
    sections: dict[str | int, type[BaseModel]] = {
        "models": ModelConfig,
        "routers": RouterConfig,
        "chains": ChainConfig,
        "log": LogConfig,
    }
    nested: dict[str | int, type[BaseModel]] = {"price": PriceConfig, "capabilities": CapabilitiesConfig}
    model = nested.get(path[2]) if len(path) > 2 else sections.get(path[0])
    return list((model or ModelConfig).model_fields)
