"""Code as people write it, of which nothing changes: another process has to find what one has kept.

A rule that declines too much would be safe, and useless. `python check.py everyday.py`.
"""

from _edit import HIT, Edit, in_form


def same(name, text, **more):
    return Edit(
        name,
        "everyday",
        text,
        [],
        HIT,
        before={"PYTHONHASHSEED": "1"},
        after={"PYTHONHASHSEED": "7"},
        **more,
    )


EDITS = [
    same(
        "logging, settings and a compiled pattern",
        """
        import logging, os, re
        from dataclasses import dataclass, field
        log = logging.getLogger(__name__)
        WORD = re.compile(r"[a-z]+", re.I)
        @dataclass(frozen=True)
        class Settings:
            least: int = 2
            stop: frozenset = field(default_factory=lambda: frozenset({"the", "a"}))
        SETTINGS = Settings()
        def words(text):
            return [w for w in WORD.findall(text) if w not in SETTINGS.stop]
        def f(x):
            found = words("the quick brown fox " * x)
            log.info("%d words", len(found))
            return [w for w in found if len(w) >= SETTINGS.least]
        """,
    ),
    same(
        "a helper that is memoised",
        """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        def f(x): return fib(20 + x)
        """,
    ),
    same(
        "retries and a warning of its own",
        """
        import warnings
        from tenacity import retry, stop_after_attempt, wait_none
        @retry(stop=stop_after_attempt(3), wait=wait_none(), reraise=True)
        def ask(x):
            if x < 0:
                warnings.warn("negative")
            return x * 2
        def f(x): return ask(x)
        """,
    ),
    same(
        "pydantic models, nested, with a validator",
        """
        from pydantic import BaseModel, Field, field_validator
        class Item(BaseModel):
            name: str
            price: float = Field(gt=0, description="in CHF")
            @field_validator("name")
            @classmethod
            def tidy(cls, value): return value.strip().title()
        class Order(BaseModel):
            items: list[Item]
            @property
            def total(self): return sum(item.price for item in self.items)
        def f(x): return Order(items=[{"name": " tea ", "price": x}]).total
        """,
    ),
    same(
        "pandas: read, group, merge",
        """
        import io
        import numpy as np
        import pandas as pd
        RATES = pd.DataFrame({"currency": ["CHF", "EUR"], "rate": [1.0, 0.95]})
        def clean(table):
            table = table.assign(amount=pd.to_numeric(table["amount"], errors="coerce"))
            return table.dropna()
        def f(x):
            table = pd.read_csv(io.StringIO("currency,amount\\nCHF,1\\nEUR,2\\nEUR,x\\n"))
            merged = clean(table).merge(RATES, on="currency")
            return float(np.round((merged["amount"] * merged["rate"]).sum() * x, 2))
        """,
    ),
    same(
        "polars expressions in a function",
        """
        import polars as pl
        def features(frame):
            return frame.with_columns((pl.col("a") * 2).alias("b"), pl.col("a").rank().alias("r"))
        def f(x): return features(pl.DataFrame({"a": [3, 1, x]})).to_dicts()
        """,
    ),
    same(
        "a sklearn pipeline that is fitted",
        """
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        SEED = 0
        def model():
            return make_pipeline(StandardScaler(), LogisticRegression(C=0.5, random_state=SEED))
        def f(x):
            data = np.random.default_rng(SEED).normal(size=(20, 2))
            kind = data[:, 0] > 0
            return round(float(model().fit(data, kind).score(data, kind)), 3) + x
        """,
    ),
    same(
        "enums, literals and a table of functions",
        """
        import enum
        from typing import Literal
        class Unit(enum.Enum):
            KM = 1.0
            MILE = 1.609
            def to_km(self, value): return value * self.value
        def double(x): return 2 * x
        def square(x): return x * x
        STEPS = {"double": double, "square": square}
        def f(x, how: Literal["double", "square"] = "square", unit: Unit = Unit.MILE):
            return unit.to_km(STEPS[how](x))
        """,
    ),
    same(
        "a context manager, a generator, an exception of one's own",
        """
        from contextlib import contextmanager, suppress
        class Bad(ValueError):
            def __init__(self, row): super().__init__(f"row {row}"); self.row = row
        @contextmanager
        def section(name):
            yield name.upper()
        def rows(x):
            for n in range(x):
                if n == 2: raise Bad(n)
                yield n
        def f(x):
            out = []
            with section("a") as name, suppress(Bad):
                for row in rows(x): out.append((name, row))
            return out
        """,
    ),
    same(
        "a class hierarchy with abstract methods",
        """
        import abc
        class Model(abc.ABC):
            scale = 2
            @abc.abstractmethod
            def score(self, x): ...
            def run(self, x): return self.score(x) * self.scale
        class Linear(Model):
            def __init__(self, slope): self.slope = slope
            def score(self, x): return self.slope * x
            def __repr__(self): return f"Linear({self.slope})"
        MODELS = [Linear(1), Linear(3)]
        def f(x): return [model.run(x) for model in MODELS]
        """,
    ),
    same(
        "NumPy, SciPy and a decorated timer",
        """
        import functools, time
        import numpy as np
        from scipy import optimize, sparse
        def timed(func):
            @functools.wraps(func)
            def inner(*args, **kwargs):
                begun = time.perf_counter()
                result = func(*args, **kwargs)
                inner_seconds = time.perf_counter() - begun
                return result
            return inner
        @timed
        def solve(x): return optimize.brentq(lambda v: v * v - x, 0, x)
        def f(x): return round(solve(x), 6), float(sparse.eye(3).sum()), np.linalg.norm([3, 4])
        """,
    ),
    same(
        "paths, dates, decimals, a template",
        """
        from datetime import date, timedelta
        from decimal import Decimal
        from pathlib import Path
        from string import Template
        ROOT = Path("data")
        GREETING = Template("$name, $day")
        VAT = Decimal("0.077")
        def f(x):
            day = date(2026, 1, 31) + timedelta(days=x)
            greeting = GREETING.substitute(name=(ROOT / "a.csv").stem, day=day)
            return greeting, (VAT * x).quantize(Decimal("0.01"))
        """,
    ),
    same(
        "async helpers in a node",
        """
        import asyncio
        async def get(x):
            await asyncio.sleep(0)
            return x + 1
        async def both(x): return sum(await asyncio.gather(get(x), get(x)))
        def f(x): return asyncio.run(both(x))
        """,
    ),
    # --- the flows of this project ---
    same(
        "flow: terms of a corpus, as nodes",
        r"""
        from __future__ import annotations
        import math, re, unicodedata
        from collections import Counter, defaultdict
        from dataclasses import dataclass
        from itertools import combinations
        from hypernodes import node

        @dataclass(frozen=True)
        class SourceFile:
            '''A file as it was when the folder was listed.'''
            name: str
            text: str

        X = [SourceFile("a", "An apple a day, anApple"), SourceFile("b", "The day of the café")]

        @node(output_name="tokens")
        def tokenise(x: list[SourceFile]) -> list[list[str]]:
            '''Words of at least three letters, of each file.'''
            found = []
            for file in x:
                text = unicodedata.normalize("NFKC", file.text)
                apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
                found.append(re.findall(r"[^\W\d_]{3,}", apart.lower()))
            return found

        @node(output_name="terms")
        def key_terms(tokens: list[list[str]], term_limit: int = 400) -> list[dict[str, int]]:
            '''The most frequent words with their counts.'''
            return [dict(Counter(each).most_common(term_limit)) for each in tokens]

        @node(output_name="weights")
        def weigh(terms: list[dict[str, int]], kept: int = 40) -> list[dict[str, float]]:
            '''TF-IDF weights of each document's best terms, as vectors of length 1.'''
            frequencies = Counter(word for each in terms for word in each)
            total, vectors = len(terms), []
            for each in terms:
                weights = {
                    word: (1 + math.log(count)) * math.log(1 + total / frequencies[word])
                    for word, count in each.items()
                }
                best = dict(sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:kept])
                length = math.sqrt(sum(weight**2 for weight in best.values())) or 1.0
                vectors.append({word: weight / length for word, weight in best.items()})
            return vectors

        @node(output_name="out")
        def find_similar(weights: list[dict[str, float]]) -> list[tuple[float, int, int]]:
            '''The pairs of documents with the highest cosine similarity.'''
            holders: dict[str, list[int]] = defaultdict(list)
            for place, vector in enumerate(weights):
                for word in vector:
                    holders[word].append(place)
            scores: dict[tuple[int, int], float] = defaultdict(float)
            for word, places in holders.items():
                for one, other in combinations(places, 2):
                    scores[one, other] += weights[one][word] * weights[other][word]
            best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
            return [(round(score, 6), one, other) for (one, other), score in best]

        NODES = [tokenise, key_terms, weigh, find_similar]
        """,
    ),
    same(
        "flow: pages of a crawl",
        r"""
        from collections import Counter
        from dataclasses import dataclass
        from html.parser import HTMLParser
        from urllib.parse import urldefrag, urljoin, urlsplit

        @dataclass(frozen=True)
        class Page:
            url: str
            title: str
            words: int
            links: tuple[str, ...]

        class _Reader(HTMLParser):
            def __init__(self) -> None:
                super().__init__()
                self.title, self.words = "", 0
                self.links: list[str] = []
                self._inside: list[str] = []
            def handle_starttag(self, tag, attrs):
                if tag == "a":
                    self.links += [value for name, value in attrs if name == "href" and value]
                if tag in ("title", "script", "style"):
                    self._inside.append(tag)
            def handle_endtag(self, tag):
                if self._inside and self._inside[-1] == tag:
                    self._inside.pop()
            def handle_data(self, data):
                if "title" in self._inside:
                    self.title += data
                elif not self._inside:
                    self.words += len(data.split())

        def resolve(address, hrefs):
            found = (urldefrag(urljoin(address, href.strip())).url for href in hrefs)
            return tuple(dict.fromkeys(u for u in found if urlsplit(u).scheme in ("http", "https")))

        def rank(pages, shown=15):
            known = {each.url for each in pages}
            counts = Counter(link for each in pages for link in each.links if link in known)
            return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:shown]

        def f(x):
            pages = []
            for at in range(x):
                reader = _Reader()
                reader.feed(f"<title>Page {at}</title><p>some words</p><a href='{at + 1}.html#a'>")
                url = f"http://localhost/{at}.html"
                pages.append(Page(url, reader.title, reader.words, resolve(url, reader.links)))
            return pages, rank(pages)
        """,
    ),
    same(
        "flow: a sweep over support vector machines",
        r"""
        import io
        import logging
        from typing import Any, TypedDict
        import numpy as np
        from sklearn.base import ClassifierMixin
        from sklearn.datasets import load_digits
        from sklearn.metrics import confusion_matrix
        from sklearn.model_selection import cross_val_score, train_test_split
        from sklearn.svm import SVC

        class Split(TypedDict):
            x: np.ndarray
            y: np.ndarray
            x_test: np.ndarray
            y_test: np.ndarray

        def load(seed: int = 0, test_share: float = 0.25) -> Split:
            digits = load_digits()
            x, x_test, y, y_test = train_test_split(
                digits.data[:200], digits.target[:200], test_size=test_share, random_state=seed
            )
            return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}

        def evaluate(split: Split, c: float, gamma: float, folds: int = 3) -> float:
            scores = cross_val_score(SVC(C=c, gamma=gamma), split["x"], split["y"], cv=folds)
            logging.getLogger("sweep").info("C=%g gamma=%g: %.4f", c, gamma, scores.mean())
            return float(scores.mean())

        def train(split: Split, best: dict[str, float]) -> ClassifierMixin:
            return SVC(C=best["C"], gamma=best["gamma"]).fit(split["x"], split["y"])

        def test(split: Split, model: Any) -> tuple[float, np.ndarray]:
            predicted = model.predict(split["x_test"])
            right = float((predicted == split["y_test"]).mean())
            return right, confusion_matrix(split["y_test"], predicted)

        def f(x):
            split = load(x)
            candidates = [
                {"C": c, "gamma": 0.001, "accuracy": round(evaluate(split, c, 0.001), 4)}
                for c in (0.5, 5.0)
            ]
            best = max(candidates, key=lambda each: each["accuracy"])
            accuracy, confusion = test(split, train(split, best))
            return round(accuracy, 4), confusion.tolist(), best
        """,
        needs="sklearn",
    ),
    same(
        "flow: readings in Parquet files",
        r"""
        import tempfile
        from pathlib import Path
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        REGIONS = ("north", "east", "south", "west")

        def parse(reading: str | None) -> float | None:
            if reading is None:
                return None
            text, _, unit = reading.strip().partition(" ")
            try:
                value = float(text.replace(",", "."))
            except ValueError:
                return None
            celsius = (value - 32) / 1.8 if unit.upper() == "F" else value
            return round(celsius, 2) if -90 <= celsius <= 60 else None

        def locate(station: str) -> tuple[str, int]:
            letter, _, height = station.partition("-")
            return next(name for name in REGIONS if name[0] == letter.lower()), int(height)

        def reduce_to_sea_level(celsius, height):
            return None if celsius is None else round(celsius + 0.0065 * height, 2)

        def make_data(folder, rows, seed=7):
            random = np.random.default_rng(seed)
            places = random.integers(0, 4, rows)
            readings = [f"{value:.1f} C" for value in random.normal(10, 4, rows)]
            readings[0], readings[1] = " 50,0 f", "n/a"
            table = pa.table({
                "station": [f"{REGIONS[place][0].upper()}-{place * 50}" for place in places],
                "reading": pa.array(readings, type=pa.string()),
            })
            pq.write_table(table, Path(folder) / "part-0000.parquet")

        def f(x):
            with tempfile.TemporaryDirectory() as folder:
                make_data(folder, 4 * x)
                rows = pq.read_table(folder).to_pylist()
            out = []
            for row in rows:
                region, height = locate(row["station"])
                out.append((region, reduce_to_sea_level(parse(row["reading"]), height)))
            return sorted(out, key=str)
        """,
        needs="pyarrow",
    ),
    same(
        "flow: retrieval and its quality",
        r"""
        import ast, re
        from typing import Any
        import numpy as np
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import TfidfVectorizer

        Chunk = tuple[int, str]
        DOCUMENTS = [
            '"Sums of rows. More."\nimport csv\ndef total(rows): return sum(rows)',
            '"Dates in a calendar. More."\nimport calendar\ndef month(day): return day.month',
        ]

        def read(source: str) -> tuple[str, str]:
            told = ast.get_docstring(ast.parse(source)) or ""
            first = re.split(r"(?<=[.!?])\s|\n\s*\n", told.strip(), maxsplit=1)[0]
            words = re.findall(r"[A-Za-z]{2,}", source.replace(first, " ") if first else source)
            return " ".join(words).lower(), " ".join(first.split())

        def chunk(documents: list[str], size: int, overlap: float = 0.25) -> list[Chunk]:
            step = max(1, round(size * (1 - overlap)))
            chunks = []
            for place, text in enumerate(documents):
                words = text.split()
                starts = range(0, max(len(words) - size, 0) + step, step)
                chunks += [(place, " ".join(words[start : start + size])) for start in starts]
            return chunks

        def embed(chunks: list[Chunk], features: int = 200) -> tuple[TfidfVectorizer, csr_matrix]:
            embedder = TfidfVectorizer(max_features=features, sublinear_tf=True)
            return embedder, embedder.fit_transform([text for _, text in chunks])

        def search(questions, embedder: Any, index: Any, chunks: list[Chunk], depth: int = 20):
            owners = np.array([place for place, _ in chunks])
            ranked = []
            for scores in (embedder.transform(questions) @ index.T).toarray():
                best = np.argsort(-scores, kind="stable")[: depth * 10]
                ranked.append(list(dict.fromkeys(owners[best].tolist()))[:depth])
            return ranked

        def f(x):
            texts, questions = zip(*map(read, DOCUMENTS))
            chunks = chunk(list(texts), x)
            ranked = search(list(questions), *embed(chunks), chunks)
            ranks = [found.index(place) + 1 for place, found in enumerate(ranked)]
            return {"mrr": round(sum(1 / rank for rank in ranks) / len(ranks), 4), "ranked": ranked}
        """,
        needs="sklearn",
    ),
    # --- logging, settings, the command line ---
    same(
        "loggers, an adapter, a filter, timings in the log",
        r"""
        import logging
        import logging.config
        import time
        import uuid

        logger = logging.getLogger(__name__)
        audit = logging.LoggerAdapter(logging.getLogger("audit"), {"component": "ingest"})
        LOGGING = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
            "handlers": {"null": {"class": "logging.NullHandler"}},
            "root": {"level": "INFO", "handlers": ["null"]},
        }
        logging.config.dictConfig(LOGGING)

        class Redact(logging.Filter):
            def filter(self, record):
                record.msg = str(record.msg).replace("secret", "***")
                return True

        logger.addFilter(Redact())

        def ingest(rows):
            run = uuid.uuid4().hex[:8]
            started = time.perf_counter()
            logger.info("run %s starts", run)
            good = [row for row in rows if row % 2]
            for row in set(rows) - set(good):
                audit.warning("row %d dropped", row)
            logger.debug("run %s took %.3f s", run, time.perf_counter() - started)
            return good

        def f(x):
            return ingest(list(range(x * 3)))
        """,
    ),
    same(
        "argparse and a configuration of dataclasses",
        r"""
        import argparse
        import json
        from dataclasses import asdict, dataclass, field, fields, replace

        @dataclass
        class Optimiser:
            name: str = "adam"
            rate: float = 3e-4
            betas: tuple = (0.9, 0.999)

        @dataclass
        class Config:
            epochs: int = 10
            optimiser: Optimiser = field(default_factory=Optimiser)
            tags: list = field(default_factory=list)

            @classmethod
            def from_dict(cls, told):
                known = {each.name for each in fields(cls)}
                if unknown := set(told) - known:
                    raise ValueError(f"unknown settings: {sorted(unknown)}")
                told = dict(told)
                if "optimiser" in told:
                    told["optimiser"] = Optimiser(**told["optimiser"])
                return cls(**told)

        DEFAULT = Config(tags=["base"])

        def build_parser():
            parser = argparse.ArgumentParser(description="Train a model")
            parser.add_argument("--epochs", type=int, default=DEFAULT.epochs)
            parser.add_argument("--rate", type=float, default=None)
            group = parser.add_mutually_exclusive_group()
            group.add_argument("--quiet", action="store_true")
            group.add_argument("-v", "--verbose", action="count", default=0)
            sub = parser.add_subparsers(dest="command")
            fit = sub.add_parser("fit")
            fit.add_argument("paths", nargs="*")
            return parser

        def f(x):
            options = build_parser().parse_args(["--epochs", str(x), "-vv", "fit", "a.csv"])
            config = replace(DEFAULT, epochs=options.epochs)
            again = Config.from_dict(json.loads(json.dumps(asdict(config))))
            return again, options.command, options.paths, options.verbose

        def main(argv=None):
            print(f(build_parser().parse_args(argv).epochs))

        if __name__ == "__main__":
            main()
        """,
    ),
    same(
        "environment variables at import and at run time",
        r"""
        import os

        APP_ENV = os.environ.get("APP_ENV_OF_THE_EDITS", "development")
        DEBUG = os.getenv("APP_DEBUG_OF_THE_EDITS", "0").lower() in {"1", "true", "yes"}
        ROOT = os.path.dirname(os.path.abspath(__file__))

        def env_int(name, default):
            try:
                return int(os.environ[name])
            except KeyError:
                return default
            except ValueError as error:
                raise RuntimeError(f"{name} has to be a number") from error

        LIMIT = env_int("APP_LIMIT_OF_THE_EDITS", 25)

        def f(x):
            region = os.environ.get("APP_REGION_OF_THE_EDITS", "eu-west-1")
            if "APP_SHOUT_OF_THE_EDITS" in os.environ:
                region = region.upper()
            return APP_ENV, DEBUG, min(LIMIT, x * 10), region, os.path.basename("a/b.txt")
        """,
    ),
    same(
        "settings by pydantic-settings",
        r"""
        from functools import lru_cache
        from pydantic import Field, SecretStr
        from pydantic_settings import BaseSettings, SettingsConfigDict

        class Database(BaseSettings):
            host: str = "localhost"
            port: int = Field(5432, ge=1, le=65535)
            password: SecretStr = SecretStr("postgres")

        class Settings(BaseSettings):
            model_config = SettingsConfigDict(env_prefix="EDITS_APP_", extra="ignore")
            name: str = "service"
            workers: int = 4
            database: Database = Field(default_factory=Database)

        @lru_cache
        def get_settings() -> Settings:
            return Settings()

        settings = Settings()

        def f(x):
            told = get_settings()
            return told.name, told.workers * x, told.database.port, settings.database.host
        """,
        needs="pydantic_settings",
    ),
    # --- models ---
    same(
        "pydantic: a discriminated union, computed fields, validators of the model",
        r"""
        from __future__ import annotations
        from datetime import date
        from decimal import Decimal
        from typing import Annotated, Any, Literal, Union
        from pydantic import (
            AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError,
            computed_field, field_serializer, model_validator,
        )

        def not_blank(value: str) -> str:
            if not value.strip():
                raise ValueError("must not be blank")
            return value

        Name = Annotated[str, Field(max_length=40), AfterValidator(not_blank)]

        class Base(BaseModel):
            model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

        class Card(Base):
            kind: Literal["card"] = "card"
            number: str = Field(pattern=r"^\d{4}$", alias="last4")

        class Transfer(Base):
            kind: Literal["transfer"] = "transfer"
            iban: str

        Payment = Annotated[Union[Card, Transfer], Field(discriminator="kind")]

        class Line(Base):
            name: Name
            price: Decimal = Field(gt=0)
            count: int = 1

            @computed_field
            @property
            def total(self) -> Decimal:
                return self.price * self.count

        class Invoice(Base):
            day: date
            lines: list[Line]
            payment: Payment

            @model_validator(mode="before")
            @classmethod
            def one_line(cls, data: Any) -> Any:
                if isinstance(data, dict) and "line" in data:
                    data = dict(data)
                    data["lines"] = [data.pop("line")]
                return data

            @model_validator(mode="after")
            def has_lines(self) -> Invoice:
                if not self.lines:
                    raise ValueError("an invoice has lines")
                return self

            @field_serializer("day")
            def as_text(self, day: date) -> str:
                return day.strftime("%d.%m.%Y")

        INVOICES = TypeAdapter(list[Invoice])

        def f(x):
            row = {
                "day": "2026-01-31", "line": {"name": "tea", "price": "2.50", "count": x},
                "payment": {"kind": "card", "last4": "1234"},
            }
            told = [each.model_dump(mode="json") for each in INVOICES.validate_python([dict(row)])]
            try:
                Invoice(day="2026-01-31", lines=[], payment={"kind": "transfer", "iban": "CH"})
            except ValidationError as error:
                told.append({"errors": [each["msg"] for each in error.errors()]})
            return told
        """,
    ),
    same(
        "dataclasses of all sorts",
        r"""
        import sys
        from dataclasses import KW_ONLY, InitVar, asdict, astuple, dataclass, field
        from datetime import timedelta
        from typing import ClassVar

        @dataclass(order=True, frozen=True, slots=True)
        class Version:
            major: int
            minor: int = 0
            label: str = field(default="", compare=False)

            @classmethod
            def parse(cls, text):
                major, _, minor = text.partition(".")
                return cls(int(major), int(minor or 0))

            def __str__(self):
                return f"{self.major}.{self.minor}"

        @dataclass
        class Job:
            name: str
            _: KW_ONLY
            retries: int = 0
            timeout: timedelta = timedelta(minutes=5)
            raw: InitVar[str] = ""
            steps: list[str] = field(init=False, repr=False)
            limits: ClassVar[dict[str, int]] = {"cpu": 4, "memory": 8}

            def __post_init__(self, raw):
                self.steps = [step.strip() for step in raw.split(";") if step.strip()]

        @dataclass
        class Nightly(Job):
            hour: int = field(default=2, metadata={"unit": "h", "range": range(24)})

        RELEASES = tuple(Version.parse(text) for text in ("1.2", "1.10", "2"))

        def f(x):
            job = Nightly("build", raw="lint; test ;", retries=x, hour=3)
            latest = max(RELEASES)
            return asdict(job), astuple(latest), str(latest), sorted(RELEASES), job.limits["cpu"]
        """,
    ),
    same(
        "attrs classes with converters and validators",
        r"""
        import attrs
        from attrs import define, field, frozen, validators

        def lower(value):
            return value.lower()

        @frozen
        class Point:
            x: float = field(converter=float)
            y: float = field(converter=float, default=0)

            def moved(self, by):
                return attrs.evolve(self, x=self.x + by)

        @define
        class Account:
            owner: str = field(converter=lower, validator=validators.min_len(2))
            balance: int = field(default=0, validator=validators.ge(0))
            history: list = attrs.Factory(list)

            @balance.validator
            def _not_too_much(self, attribute, value):
                if value > 1_000_000:
                    raise ValueError(f"{attribute.name} is {value}")

            def deposit(self, amount):
                self.balance += amount
                self.history.append(("deposit", amount))
                return self

        ORIGIN = Point(0)

        def f(x):
            account = Account("ANNA").deposit(x).deposit(10)
            try:
                Account("B", balance=1)
            except ValueError:
                account.history.append("refused")
            return attrs.asdict(account), ORIGIN.moved(x)
        """,
        needs="attrs",
    ),
    same(
        "enums and flags",
        r"""
        import enum
        from collections import Counter

        class Colour(str, enum.Enum):
            RED = "red"
            GREEN = "green"

            @classmethod
            def _missing_(cls, value):
                return cls.RED if str(value).lower().startswith("r") else None

        class Level(enum.IntEnum):
            LOW = enum.auto()
            MID = enum.auto()
            HIGH = enum.auto()

            @property
            def label(self):
                return self.name.title()

        class Access(enum.Flag):
            READ = enum.auto()
            WRITE = enum.auto()
            ALL = READ | WRITE

        @enum.unique
        class Planet(enum.Enum):
            EARTH = (5.976e24, 6.37814e6)
            MARS = (6.421e23, 3.3972e6)

            def __init__(self, mass, radius):
                self.mass = mass
                self.radius = radius

            @property
            def gravity(self):
                return 6.67430e-11 * self.mass / self.radius**2

        NEEDED = {Level.LOW: Access.READ, Level.HIGH: Access.ALL}
        HOT = frozenset({Colour.RED})

        def f(x):
            level = Level(x)
            allowed = NEEDED.get(level, Access.READ)
            counts = Counter(colour.value for colour in (Colour("r"), Colour.GREEN))
            names = [each.name for each in Access if each in allowed]
            return level.label, names, counts, round(Planet.MARS.gravity, 3), Colour("Red") in HOT
        """,
    ),
    same(
        "protocols, generics, typed dicts, named tuples, overloads",
        r"""
        from __future__ import annotations
        from collections.abc import Callable, Iterable, Iterator
        from typing import (
            TYPE_CHECKING, Any, Final, Generic, NamedTuple, NewType, Optional, Protocol, TypedDict,
            TypeVar, cast, overload, runtime_checkable,
        )
        if TYPE_CHECKING:
            from pandas import DataFrame

        T = TypeVar("T")
        K = TypeVar("K", bound="Comparable")
        UserId = NewType("UserId", int)
        LIMIT: Final = 10

        @runtime_checkable
        class Comparable(Protocol):
            def __lt__(self, other: Any) -> bool: ...

        class Row(TypedDict, total=False):
            id: UserId
            name: str

        class Span(NamedTuple):
            start: int
            stop: int = LIMIT

            @property
            def length(self) -> int:
                return self.stop - self.start

        class Stack(Generic[T]):
            def __init__(self, items: Iterable[T] = ()) -> None:
                self._items = list(items)
            def push(self, item: T) -> Stack[T]:
                self._items.append(item)
                return self
            def __iter__(self) -> Iterator[T]:
                return reversed(self._items)

        @overload
        def first(items: Iterable[T]) -> T: ...
        @overload
        def first(items: Iterable[T], default: T) -> T: ...
        def first(items, default=None):
            return next(iter(items), default)

        def apply(function: Callable[[T], K], items: Iterable[T]) -> list[K]:
            return sorted(function(item) for item in items)

        def table(rows: list[Row]) -> Optional[DataFrame]:
            return None

        def f(x: int) -> list[Any]:
            stack: Stack[int] = Stack([1, 2]).push(x)
            row = cast(Row, {"id": UserId(x), "name": "a"})
            span = Span(2)
            told = apply(lambda n: -n, stack)
            return [first(stack), first([], 0), row, span, span.length, told, table([row]),
                    isinstance(x, Comparable)]
        """,
    ),
    # --- tables and arrays ---
    same(
        "pandas: cleaning, categoricals, pivot, resample",
        r"""
        import io
        import pandas as pd

        RAW = '''day,shop,kind,amount
        2026-01-01, north ,tea,1.5
        2026-01-02,NORTH,coffee,2
        2026-01-09,south,tea,n/a
        2026-01-10,south,tea,4
        '''
        KINDS = pd.CategoricalDtype(["tea", "coffee", "cocoa"], ordered=True)
        AGGREGATES = {"total": ("amount", "sum"), "rows": ("amount", "size")}

        def read(text):
            return pd.read_csv(io.StringIO(text.replace("        ", "")), parse_dates=["day"])

        def tidy(frame):
            return (
                frame.rename(columns=str.strip)
                .assign(
                    shop=lambda each: each["shop"].str.strip().str.lower(),
                    amount=lambda each: pd.to_numeric(each["amount"], errors="coerce"),
                    kind=lambda each: each["kind"].astype(KINDS),
                )
                .dropna(subset=["amount"])
                .sort_values(["day", "shop"], ignore_index=True)
            )

        def by_shop(frame):
            return frame.groupby("shop", as_index=False, observed=True).agg(**AGGREGATES)

        def wide(frame):
            return frame.pivot_table(
                index="shop", columns="kind", values="amount", aggfunc="sum", fill_value=0,
                observed=False,
            )

        def weekly(frame):
            return frame.set_index("day")["amount"].resample("W").sum()

        def f(x):
            frame = read(RAW).pipe(tidy)
            frame["scaled"] = frame["amount"] * x
            return (
                by_shop(frame).to_dict("records"), wide(frame).to_dict(), weekly(frame).tolist(),
                frame["kind"].cat.codes.tolist(), frame.loc[frame["scaled"] > 5, "shop"].tolist(),
            )
        """,
    ),
    same(
        "pandas: a frame goes in, a frame comes out",
        r"""
        import numpy as np
        import pandas as pd

        X = pd.DataFrame({
            "id": [1, 2, 3, 4],
            "city": pd.Categorical(["Bern", "Basel", "Bern", None]),
            "seen": pd.date_range("2026-03-01", periods=4, freq="D", tz="Europe/Zurich"),
            "value": [1.0, np.nan, 3.0, 4.5],
        }).set_index("id")
        BINS = [-np.inf, 2, 4, np.inf]
        LABELS = ["low", "mid", "high"]
        CITY = pd.Series({"Bern": 3000, "Basel": 4000}, name="zip")

        def fill(frame):
            frame = frame.copy()
            frame["value"] = frame.groupby("city", observed=True)["value"].transform(
                lambda each: each.fillna(each.mean())
            )
            return frame.fillna({"value": frame["value"].median()})

        def f(x):
            frame = fill(x)
            frame["band"] = pd.cut(frame["value"], BINS, labels=LABELS)
            frame["zip"] = frame["city"].astype(object).map(CITY)
            frame["weekday"] = frame["seen"].dt.day_name()
            frame["z"] = (frame["value"] - frame["value"].mean()) / frame["value"].std(ddof=0)
            rolled = frame["value"].rolling(2, min_periods=1).mean().shift(fill_value=0)
            return frame.assign(rolled=rolled).round(4)
        """,
    ),
    same(
        "polars: a lazy query and expressions at module level",
        r"""
        import polars as pl

        IS_WEEKEND = pl.col("day").dt.weekday() >= 6
        FEATURES = [
            pl.col("amount").log1p().alias("log_amount"),
            (pl.col("amount") / pl.col("amount").sum().over("shop")).alias("share"),
            pl.when(IS_WEEKEND).then(pl.lit("weekend")).otherwise(pl.lit("week")).alias("part"),
        ]
        SCHEMA = {"shop": pl.String, "day": pl.Date, "amount": pl.Float64}

        def load(x):
            rows = {"shop": ["a", "b", "a"], "day": ["2026-01-01", "2026-01-03", "2026-01-04"],
                    "amount": [1.0, 2.0, float(x)]}
            return pl.DataFrame(rows).with_columns(pl.col("day").str.to_date()).cast(SCHEMA).lazy()

        def summarise(query):
            return (
                query.with_columns(FEATURES)
                .group_by("shop", maintain_order=True)
                .agg(pl.col("amount").sum(), pl.col("share").max().round(3), pl.len().alias("n"),
                     pl.col("part").unique(maintain_order=True))
                .sort("shop")
            )

        def f(x):
            return summarise(load(x)).collect().to_dicts()
        """,
    ),
    same(
        "NumPy: a Monte Carlo estimate with a seed",
        r"""
        import numpy as np
        from numpy.typing import NDArray

        SEED = 20260131
        EDGES = np.linspace(0.0, 1.0, 5)
        WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)

        def pi(rng: np.random.Generator, count: int) -> float:
            points = rng.random((count, 2))
            return 4 * float(np.mean(np.hypot(points[:, 0], points[:, 1]) <= 1))

        def bootstrap(rng, data: NDArray[np.float64], draws: int = 200):
            picks = rng.choice(data, size=(draws, data.size), replace=True).mean(axis=1)
            return np.percentile(picks, [2.5, 97.5])

        def walk(rng, steps):
            moves = rng.integers(0, 2, steps) * 2 - 1
            return np.cumsum(moves)

        def f(x):
            seeds = np.random.SeedSequence(SEED).spawn(3)
            streams = [np.random.default_rng(each) for each in seeds]
            low, high = bootstrap(streams[1], np.arange(x * 10, dtype=float))
            counts, _ = np.histogram(streams[2].random(100), bins=EDGES)
            told = float(np.average(counts, weights=WEIGHTS))
            return round(pi(streams[0], 1000), 3), round(low, 2), round(high, 2), told, \
                walk(streams[2], 5).tolist()
        """,
    ),
    same(
        "SciPy: statistics, interpolation, an integral, a fit",
        r"""
        import numpy as np
        from scipy import integrate, interpolate, optimize, signal, spatial, stats
        from scipy.sparse import coo_matrix
        from scipy.sparse.linalg import spsolve

        PRIOR = stats.norm(loc=0, scale=2)
        TIMES = np.linspace(0, 1, 11)

        def decay(t, scale, rate):
            return scale * np.exp(-rate * t)

        def fit(values):
            found, _ = optimize.curve_fit(decay, TIMES, values, p0=(1, 1))
            return [round(float(each), 4) for each in found]

        def system(n):
            rows = [*range(n), *range(n - 1)]
            columns = [*range(n), *range(1, n)]
            return coo_matrix(([2.0] * n + [1.0] * (n - 1), (rows, columns))).tocsc()

        def f(x):
            curve = interpolate.CubicSpline(TIMES, decay(TIMES, x, 2))
            area, _ = integrate.quad(lambda t: float(curve(t)), 0, 1)
            b, a = signal.butter(2, 0.3)
            tree = spatial.KDTree(np.column_stack([TIMES, TIMES**2]))
            nearest = tree.query([0.5, 0.2])[1]
            solved = spsolve(system(x), np.ones(x))
            return (fit(decay(TIMES, x, 2)), round(area, 4), round(float(PRIOR.cdf(1)), 4),
                    np.round(b, 4).tolist(), int(nearest), solved.round(4).tolist())
        """,
    ),
    same(
        "scikit-learn: columns, a transformer of one's own, a grid",
        r"""
        import numpy as np
        import pandas as pd
        from sklearn.base import BaseEstimator, TransformerMixin
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.impute import SimpleImputer
        from sklearn.metrics import f1_score, make_scorer
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
        from sklearn.utils.validation import check_is_fitted

        NUMERIC = ["age", "income"]
        CATEGORICAL = ["city"]
        GRID = {"model__max_depth": [1, 2], "clip__high": [0.9]}
        SCORER = make_scorer(f1_score, average="macro")

        class Clip(BaseEstimator, TransformerMixin):
            '''Cuts off what lies beyond a quantile.'''
            def __init__(self, high=0.95):
                self.high = high
            def fit(self, X, y=None):
                self.limits_ = np.quantile(np.asarray(X, dtype=float), self.high, axis=0)
                return self
            def transform(self, X):
                check_is_fitted(self, "limits_")
                return np.minimum(X, self.limits_)
            def get_feature_names_out(self, names=None):
                return names

        def preprocess():
            numbers = Pipeline([("fill", SimpleImputer()), ("log", FunctionTransformer(np.log1p)),
                                ("scale", StandardScaler())])
            return ColumnTransformer([
                ("numbers", numbers, NUMERIC),
                ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORICAL),
            ])

        def model():
            return Pipeline([
                ("columns", preprocess()),
                ("clip", Clip()),
                ("model", RandomForestClassifier(n_estimators=5, random_state=0)),
            ])

        def make(n, seed=0):
            rng = np.random.default_rng(seed)
            frame = pd.DataFrame({"age": rng.integers(18, 80, n).astype(float),
                                  "income": rng.gamma(2, 1000, n),
                                  "city": rng.choice(["Bern", "Basel"], n)})
            frame.loc[0, "age"] = np.nan
            return frame, (frame["income"] > 2000).astype(int)

        def f(x):
            frame, target = make(x * 10)
            search = GridSearchCV(model(), GRID, cv=StratifiedKFold(2), scoring=SCORER)
            search.fit(frame, target)
            return search.best_params_, round(search.best_score_, 3)
        """,
        needs="sklearn",
    ),
    same(
        "scikit-learn: a fitted model is the result, and the input of the next node",
        r"""
        from hypernodes import node
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier
        from sklearn.pipeline import make_pipeline

        X = [("good tea", 1), ("bad coffee", 0), ("good coffee", 1), ("bad tea", 0)]
        STOP = ["the", "a"]

        def analyse(text):
            return [word for word in text.lower().split() if word not in STOP]

        @node(output_name="model")
        def train(x):
            texts, labels = zip(*x)
            model = make_pipeline(TfidfVectorizer(analyzer=analyse), SGDClassifier(random_state=0))
            return model.fit(texts, labels)

        @node(output_name="out")
        def predict(model, texts=("good cocoa", "bad cocoa")):
            return model.predict(list(texts)).tolist(), sorted(model[0].vocabulary_)

        NODES = [train, predict]
        """,
        needs="sklearn",
    ),
    same(
        "a graph of tasks by networkx",
        r"""
        import networkx as nx

        EDGES = [("clean", "load"), ("join", "clean"), ("model", "join"), ("report", "model")]
        COST = {"load": 5, "clean": 3, "join": 2, "model": 8}
        TASKS = nx.DiGraph()
        TASKS.add_edges_from((two, one) for one, two in EDGES)
        nx.set_node_attributes(TASKS, COST, "cost")

        def critical(graph):
            weighted = nx.DiGraph()
            for one, two in graph.edges:
                weighted.add_edge(one, two, weight=graph.nodes[one].get("cost", 1))
            return nx.dag_longest_path(weighted), nx.dag_longest_path_length(weighted)

        def ring(n):
            graph = nx.cycle_graph(n)
            graph.add_edge(0, n // 2)
            return {node: round(value, 3) for node, value in nx.pagerank(graph).items()}

        def f(x):
            order = list(nx.lexicographical_topological_sort(TASKS))
            return order, critical(TASKS), ring(x + 2), sorted(nx.ancestors(TASKS, "model"))
        """,
        needs="networkx",
    ),
    same(
        "a figure by matplotlib as bytes",
        r"""
        import hashlib
        import io
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        STYLE = {"figure.figsize": (3, 2), "axes.grid": True, "font.size": 8}
        COLOURS = ["#1b6ca8", "#f2a541"]

        def thousands(value, position):
            return f"{value / 1000:g}k"

        def draw(series):
            with plt.rc_context(STYLE):
                figure, axes = plt.subplots()
                for (name, values), colour in zip(series.items(), COLOURS):
                    axes.plot(range(len(values)), values, color=colour, label=name)
                axes.yaxis.set_major_formatter(FuncFormatter(thousands))
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.legend(loc="upper left")
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png", metadata={"Software": None})
                plt.close(figure)
            return buffer.getvalue()

        def f(x):
            png = draw({"a": [1000, 2000 * x], "b": [500, 700]})
            return png[:8], hashlib.sha256(png).hexdigest()
        """,
        needs="matplotlib",
    ),
    same(
        "images by Pillow",
        r"""
        import io
        from PIL import Image, ImageDraw, ImageFilter, ImageOps

        SIZE = (16, 16)
        FILTERS = {"blur": ImageFilter.GaussianBlur(1), "edges": ImageFilter.FIND_EDGES}
        WHITE = (255, 255, 255)

        def canvas(size=SIZE):
            image = Image.new("RGB", size, WHITE)
            ImageDraw.Draw(image).rectangle((4, 4, 11, 11), fill="navy")
            return image

        def thumbnail(image, side):
            small = image.copy()
            small.thumbnail((side, side))
            return ImageOps.grayscale(small)

        def to_png(image):
            with io.BytesIO() as buffer:
                image.save(buffer, format="PNG")
                return buffer.getvalue()

        def f(x):
            image = canvas().filter(FILTERS["blur"])
            small = thumbnail(image, x * 2)
            again = Image.open(io.BytesIO(to_png(small)))
            return small.size, again.mode, list(again.tobytes())[:5]
        """,
        needs="PIL",
    ),
    # --- talking to others ---
    same(
        "httpx: a client that is made when it is needed",
        r"""
        from functools import lru_cache
        import httpx

        BASE = "https://api.example.invalid/v1"
        TIMEOUT = httpx.Timeout(10.0, connect=2.0)
        HEADERS = {"Accept": "application/json", "User-Agent": "pipeline/1.0"}

        class ApiError(Exception):
            def __init__(self, status, message):
                super().__init__(f"{status}: {message}")
                self.status = status

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/0"):
                return httpx.Response(404, json={"error": "no such user"})
            return httpx.Response(200, json={"id": int(request.url.path.rsplit("/", 1)[1])})

        @lru_cache(maxsize=1)
        def get_client() -> httpx.Client:
            return httpx.Client(
                base_url=BASE, headers=HEADERS, timeout=TIMEOUT,
                transport=httpx.MockTransport(answer),
            )

        def get_user(number):
            response = get_client().get(f"/users/{number}", params={"full": True})
            if response.is_error:
                raise ApiError(response.status_code, response.json()["error"])
            return response.json()

        async def get_many(numbers):
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                return [(await client.get(f"{BASE}/users/{n}")).json()["id"] for n in numbers]

        def f(x):
            import asyncio
            try:
                get_user(0)
            except ApiError as error:
                missing = error.status
            return get_user(x), missing, asyncio.run(get_many([1, x]))
        """,
        needs="httpx",
    ),
    same(
        "requests: a session with retries and an own authentication",
        r"""
        import requests
        from requests.adapters import HTTPAdapter
        from requests.auth import AuthBase
        from urllib3.util.retry import Retry

        RETRY = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 502, 503))
        URL = "https://api.example.invalid"

        class TokenAuth(AuthBase):
            def __init__(self, token):
                self.token = token
            def __call__(self, request):
                request.headers["Authorization"] = f"Bearer {self.token}"
                return request

        def make_session(token="anonymous"):
            session = requests.Session()
            session.headers.update({"Accept": "application/json"})
            session.auth = TokenAuth(token)
            session.mount("https://", HTTPAdapter(max_retries=RETRY))
            return session

        class Client:
            def __init__(self, url=URL):
                self.url = url.rstrip("/")

            @property
            def session(self):
                if not hasattr(self, "_session"):
                    self._session = make_session()
                return self._session

            def prepare(self, path, **params):
                request = requests.Request("GET", f"{self.url}/{path}", params=params)
                return self.session.prepare_request(request)

        def f(x):
            request = Client().prepare("items", page=x, q="tea & cake")
            return request.url, request.headers["Authorization"], request.method
        """,
        needs="requests",
    ),
    same(
        "sqlite3 in functions, with queries as constants",
        r"""
        import sqlite3
        from contextlib import closing, contextmanager

        SCHEMA = '''
            create table sale (id integer primary key, shop text not null, amount real);
            create index by_shop on sale (shop);
        '''
        INSERT = "insert into sale (shop, amount) values (:shop, :amount)"
        TOTALS = '''
            select shop, sum(amount) as total, count(*) as n
            from sale group by shop having total > ? order by shop
        '''

        class Median:
            def __init__(self):
                self.values = []
            def step(self, value):
                self.values.append(value)
            def finalize(self):
                return sorted(self.values)[len(self.values) // 2]

        @contextmanager
        def connect(path=":memory:"):
            with closing(sqlite3.connect(path)) as connection:
                connection.row_factory = sqlite3.Row
                connection.create_aggregate("median", 1, Median)
                connection.executescript(SCHEMA)
                with connection:
                    yield connection

        def f(x):
            rows = [{"shop": shop, "amount": n * 1.5} for n in range(x) for shop in "ab"]
            with connect() as connection:
                connection.executemany(INSERT, rows)
                totals = [dict(row) for row in connection.execute(TOTALS, (1,))]
                (middle,) = connection.execute("select median(amount) from sale").fetchone()
            return totals, middle
        """,
    ),
    same(
        "JSON, CSV, XML and INI, read and written",
        r"""
        import configparser
        import csv
        import io
        import json
        import xml.etree.ElementTree as ET
        from datetime import date, datetime

        INI = '''
        [server]
        host = localhost
        port = 8080
        '''
        FEED = '''<feed xmlns:a="urn:a">
            <a:item id="1">tea</a:item><a:item id="2">cake</a:item>
        </feed>'''
        NAMESPACES = {"a": "urn:a"}
        FIELDS = ["id", "name", "day"]

        class Encoder(json.JSONEncoder):
            def default(self, value):
                if isinstance(value, (date, datetime)):
                    return value.isoformat()
                if isinstance(value, set):
                    return sorted(value)
                return super().default(value)

        def hook(pairs):
            told = dict(pairs)
            if "day" in told:
                told["day"] = date.fromisoformat(told["day"])
            return told

        def items(text):
            root = ET.fromstring(text)
            return [(int(each.get("id")), each.text) for each in root.findall("a:item", NAMESPACES)]

        def to_csv(rows):
            out = io.StringIO()
            writer = csv.DictWriter(out, FIELDS, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
            writer.writeheader()
            writer.writerows(rows)
            return out.getvalue()

        def f(x):
            config = configparser.ConfigParser()
            config.read_string("\n".join(line.strip() for line in INI.splitlines()))
            rows = [{"id": n, "name": name, "day": date(2026, 1, x)} for n, name in items(FEED)]
            text = json.dumps({"rows": rows, "tags": {"b", "a"}}, cls=Encoder, sort_keys=True)
            again = json.loads(text, object_pairs_hook=hook)
            return to_csv(rows), again, config.getint("server", "port")
        """,
    ),
    same(
        "YAML with a tag of its own, and TOML where there is a reader",
        r"""
        import textwrap
        import yaml
        try:
            import tomllib
        except ModuleNotFoundError:
            try:
                import tomli as tomllib
            except ModuleNotFoundError:
                tomllib = None

        class Loader(yaml.SafeLoader):
            pass

        def percent(loader, node):
            return float(loader.construct_scalar(node).rstrip("%")) / 100

        Loader.add_constructor("!percent", percent)

        TEXT = textwrap.dedent('''
            defaults: &defaults
              rate: !percent 8.1%
              steps: [read, clean]
            jobs:
              daily:
                <<: *defaults
                hour: 3
        ''')

        def merge(base, over):
            out = dict(base)
            for key, value in over.items():
                both = isinstance(value, dict) and isinstance(out.get(key), dict)
                out[key] = merge(out[key], value) if both else value
            return out

        def f(x):
            config = yaml.load(TEXT, Loader=Loader)
            over = tomllib.loads(f"[jobs.daily]\nhour = {x}\n") if tomllib else {}
            return yaml.safe_dump(merge(config, over), sort_keys=True)
        """,
        needs="yaml",
    ),
    same(
        "an HTTP request and an e-mail, taken apart",
        r"""
        import email
        import email.policy
        from email.message import EmailMessage
        from http import HTTPStatus
        from http.cookies import SimpleCookie
        from typing import NamedTuple
        from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

        REQUEST = (
            "GET /search?q=green+tea&page={page} HTTP/1.1\r\n"
            "Host: example.invalid\r\nCookie: session=abc; theme=dark\r\n\r\n"
        )

        class Request(NamedTuple):
            method: str
            path: str
            query: dict
            headers: dict

        def parse(text):
            head, _, body = text.partition("\r\n\r\n")
            first, *lines = head.split("\r\n")
            method, target, version = first.split(" ", 2)
            if not version.startswith("HTTP/1."):
                raise ValueError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED.phrase)
            parts = urlsplit(target)
            headers = {name.lower(): value.strip() for name, _, value in
                       (line.partition(":") for line in lines)}
            return Request(method, parts.path, parse_qs(parts.query), headers)

        def cookies(request):
            jar = SimpleCookie(request.headers.get("cookie", ""))
            return {name: morsel.value for name, morsel in jar.items()}

        def mail(to, subject):
            message = EmailMessage(policy=email.policy.SMTP)
            message["To"], message["Subject"] = to, subject
            message.set_content("Hello\n")
            return email.message_from_bytes(bytes(message), policy=email.policy.default)

        def f(x):
            request = parse(REQUEST.format(page=x))
            link = urlunsplit(("https", "example.invalid", quote("/a b"), urlencode({"p": x}), ""))
            message = mail("a@example.invalid", "Grüezi")
            text = message.get_content().strip()
            return request, cookies(request), link, message["subject"], text
        """,
    ),
    # --- text ---
    same(
        "a lexer and a parser for sums",
        r"""
        import operator
        import re
        from dataclasses import dataclass

        TOKENS = [
            ("NUMBER", r"\d+(\.\d+)?"), ("NAME", r"[a-z]+"), ("OP", r"[-+*/^()]"), ("SKIP", r"\s+"),
        ]
        LEXER = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in TOKENS))
        OPERATORS = {
            "+": (1, operator.add), "-": (1, operator.sub), "*": (2, operator.mul),
            "/": (2, operator.truediv), "^": (3, operator.pow),
        }
        RIGHT = frozenset("^")

        class SyntaxProblem(ValueError):
            '''What the text has, and where.'''

        @dataclass(frozen=True)
        class Token:
            kind: str
            text: str
            place: int

        @dataclass(frozen=True)
        class Number:
            value: float
            def evaluate(self, names):
                return self.value

        @dataclass(frozen=True)
        class Name:
            name: str
            def evaluate(self, names):
                return names[self.name]

        @dataclass(frozen=True)
        class Binary:
            symbol: str
            left: object
            right: object
            def evaluate(self, names):
                function = OPERATORS[self.symbol][1]
                return function(self.left.evaluate(names), self.right.evaluate(names))

        def tokens(text):
            place = 0
            while place < len(text):
                if not (found := LEXER.match(text, place)):
                    raise SyntaxProblem(f"{text[place]!r} at {place}")
                if found.lastgroup != "SKIP":
                    yield Token(found.lastgroup, found.group(), place)
                place = found.end()

        class Parser:
            def __init__(self, text):
                self.tokens = list(tokens(text))
                self.at = 0

            @property
            def now(self):
                return self.tokens[self.at] if self.at < len(self.tokens) else None

            def take(self):
                token, self.at = self.now, self.at + 1
                return token

            def atom(self):
                token = self.take()
                if token is None:
                    raise SyntaxProblem("ends too early")
                if token.kind == "NUMBER":
                    return Number(float(token.text))
                if token.kind == "NAME":
                    return Name(token.text)
                inner = self.expression()
                self.take()
                return inner

            def expression(self, least=0):
                left = self.atom()
                while self.now and self.now.text in OPERATORS:
                    level = OPERATORS[self.now.text][0]
                    if level < least:
                        break
                    symbol = self.take().text
                    left = Binary(symbol, left, self.expression(level + (symbol not in RIGHT)))
                return left

        def f(x):
            tree = Parser("2 * (a + 3) - 4 ^ 2 / 2").expression()
            try:
                Parser("2 $ 3")
            except SyntaxProblem as problem:
                return tree.evaluate({"a": x}), str(problem)
        """,
    ),
    same(
        "byte pairs: a small tokenizer that is trained",
        r"""
        from collections import Counter
        from collections.abc import Iterable
        from itertools import pairwise

        CORPUS = ("low lower lowest", "new newer newest", "wide wider widest")
        SPECIAL = {"<pad>": 0, "<unk>": 1}

        class BytePairs:
            def __init__(self, merges: list[tuple[str, str]], vocabulary: dict[str, int]):
                self.ranks = {pair: rank for rank, pair in enumerate(merges)}
                self.vocabulary = vocabulary

            @classmethod
            def train(cls, texts: Iterable[str], merges: int):
                words = Counter(word for text in texts for word in text.split())
                splits = {word: [*word, "</w>"] for word in words}
                learnt = []
                for _ in range(merges):
                    pairs = Counter()
                    for word, count in words.items():
                        for pair in pairwise(splits[word]):
                            pairs[pair] += count
                    best = min(pairs, key=lambda pair: (-pairs[pair], pair))
                    learnt.append(best)
                    splits = {word: merge(parts, best) for word, parts in splits.items()}
                symbols = sorted({part for parts in splits.values() for part in parts})
                ids = {symbol: at + len(SPECIAL) for at, symbol in enumerate(symbols)}
                return cls(learnt, {**SPECIAL, **ids})

            def encode(self, text: str) -> list[int]:
                return [self.vocabulary.get(part, SPECIAL["<unk>"])
                        for word in text.split() for part in self.split(word)]

            def split(self, word):
                parts = [*word, "</w>"]
                while known := [pair for pair in pairwise(parts) if pair in self.ranks]:
                    parts = merge(parts, min(known, key=self.ranks.__getitem__))
                return parts

        def merge(parts, pair):
            out, at = [], 0
            while at < len(parts):
                if tuple(parts[at : at + 2]) == pair:
                    out.append("".join(pair))
                    at += 2
                else:
                    out.append(parts[at])
                    at += 1
            return out

        def f(x):
            tokenizer = BytePairs.train(CORPUS, merges=x * 3)
            return tokenizer.encode("newest low bat"), len(tokenizer.vocabulary)
        """,
    ),
    same(
        "Jinja templates from an environment with filters",
        r"""
        from datetime import date
        from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape

        TEMPLATES = {
            "base.html": "<h1>{% block title %}{% endblock %}</h1>{% block body %}{% endblock %}",
            "report.html": '''{% extends "base.html" %}
                {% block title %}{{ title | upper }}{% endblock %}
                {% block body %}{% for row in rows if row.amount > 0 -%}
                <p>{{ loop.index }} {{ row.name }}: {{ row.amount | money }}</p>
                {%- else %}nothing{% endfor %}{% endblock %}''',
        }

        def money(value, currency="CHF"):
            return f"{currency} {value:,.2f}"

        def environment():
            made = Environment(
                loader=DictLoader(TEMPLATES), autoescape=select_autoescape(),
                undefined=StrictUndefined,
            )
            made.filters["money"] = money
            made.globals["today"] = date(2026, 1, 31)
            return made

        def render(name, **values):
            return environment().get_template(name).render(**values)

        def f(x):
            rows = [{"name": "<tea>", "amount": 1234.5 * x}, {"name": "none", "amount": 0}]
            return " ".join(render("report.html", title="sales", rows=rows).split())
        """,
        needs="jinja2",
    ),
    same(
        "prompts, tokens, a retry and a structured answer of a language model",
        r"""
        import hashlib
        import json
        import logging
        import random
        import re
        from dataclasses import dataclass, field
        from string import Template
        from typing import Literal, Protocol
        from pydantic import BaseModel, Field, ValidationError
        from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_none

        log = logging.getLogger(__name__)
        MODEL = "small-2026"
        TEMPERATURE = 0.0
        PRICES = {"small-2026": (0.15e-6, 0.6e-6), "large-2026": (3e-6, 15e-6)}
        SYSTEM = "You are a careful assistant. Answer in JSON."
        PROMPT = Template("Classify the review below as $labels.\n<review>\n$review\n</review>")
        FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.S)

        class Verdict(BaseModel):
            label: Literal["good", "bad"]
            confidence: float = Field(ge=0, le=1)
            reasons: list[str] = Field(default_factory=list, max_length=3)

        class Model(Protocol):
            def complete(self, messages: list[dict], *, temperature: float) -> str: ...

        @dataclass
        class Usage:
            asked: int = 0
            answered: int = 0
            def cost(self, model=MODEL):
                into, out = PRICES[model]
                return self.asked * into + self.answered * out

        @dataclass
        class Fake:
            '''Answers as a model would: badly at first.'''
            calls: list = field(default_factory=list)
            def complete(self, messages, *, temperature):
                self.calls.append(hashlib.md5(json.dumps(messages).encode()).hexdigest())
                if len(self.calls) == 1:
                    return "Sure! Here you are."
                return '```json\n{"label": "good", "confidence": 0.9, "reasons": ["tea"]}\n```'

        def count_tokens(text):
            return max(1, round(len(text) / 4))

        def truncate(text, limit):
            words = text.split()
            while words and count_tokens(" ".join(words)) > limit:
                words.pop()
            return " ".join(words)

        def parse(text):
            found = FENCE.search(text)
            return Verdict.model_validate_json(found.group(1) if found else text)

        def classify(model: Model, review: str, usage: Usage) -> Verdict:
            labels = " or ".join(Verdict.model_json_schema()["properties"]["label"]["enum"])
            prompt = PROMPT.substitute(labels=labels, review=truncate(review, 50))
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]

            @retry(retry=retry_if_exception_type(ValidationError), stop=stop_after_attempt(3),
                   wait=wait_none(), reraise=True)
            def ask():
                log.info("request %08x", random.getrandbits(32))
                answer = model.complete(messages, temperature=TEMPERATURE)
                usage.asked += sum(count_tokens(each["content"]) for each in messages)
                usage.answered += count_tokens(answer)
                return parse(answer)

            return ask()

        def f(x):
            model, usage = Fake(), Usage()
            verdict = classify(model, "The tea was good. " * x, usage)
            return verdict.model_dump(), usage, round(usage.cost() * 1e6, 3), len(model.calls)
        """,
        needs=("tenacity", "pydantic"),
    ),
    # --- time, numbers, bytes ---
    same(
        "dates, time zones and calendars",
        r"""
        import calendar
        from datetime import date, datetime, time, timedelta, timezone
        from zoneinfo import ZoneInfo

        ZURICH = ZoneInfo("Europe/Zurich")
        UTC = timezone.utc
        HOLIDAYS = {date(2026, 1, 1), date(2026, 8, 1), date(2026, 12, 25)}
        OPEN, CLOSE = time(8, 30), time(18)
        WEEK = timedelta(weeks=1)

        def is_working(day):
            return day.weekday() < calendar.SATURDAY and day not in HOLIDAYS

        def add_working_days(day, count):
            while count:
                day += timedelta(days=1)
                count -= is_working(day)
            return day

        def month_ends(year):
            months = range(1, 13)
            return [date(year, month, calendar.monthrange(year, month)[1]) for month in months]

        def local(moment):
            return moment.astimezone(ZURICH).isoformat(timespec="minutes")

        def f(x):
            begin = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
            hours = [local(begin + timedelta(hours=n)) for n in range(x)]
            due = add_working_days(date(2025, 12, 24), x)
            parsed = datetime.strptime("31.01.2026 17:45", "%d.%m.%Y %H:%M")
            return hours, due, month_ends(2028)[1], OPEN <= parsed.time() < CLOSE, due + WEEK
        """,
    ),
    same(
        "decimals, fractions and rounding in a context",
        r"""
        import decimal
        import math
        import statistics
        from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
        from fractions import Fraction

        CENT = Decimal("0.01")
        MONEY = Context(prec=28, rounding=ROUND_HALF_EVEN)
        RATES = {"standard": Decimal("0.081"), "reduced": Decimal("0.026")}

        def with_tax(net, rate="standard"):
            return (net * (1 + RATES[rate])).quantize(CENT, context=MONEY)

        def split(amount, parts):
            '''Parts that add up to the amount, cent by cent.

            >>> split(Decimal("10.00"), 3)
            [Decimal('3.34'), Decimal('3.33'), Decimal('3.33')]
            '''
            share, rest = divmod(int(amount / CENT), parts)
            return [(share + (at < rest)) * CENT for at in range(parts)]

        def root(value, digits):
            with localcontext() as context:
                context.prec = digits
                return Decimal(value).sqrt()

        def f(x):
            with decimal.localcontext(MONEY):
                gross = with_tax(Decimal("19.95") * x)
            third = Fraction(1, 3) + Fraction(x, 6)
            assert sum(split(gross, 3)) == gross
            return gross, split(gross, 3), root(2, 12), third, math.isclose(float(third), 5 / 6), \
                statistics.median([1, x, 10])
        """,
    ),
    same(
        "hashes, base64, packed structures, names as UUIDs",
        r"""
        import base64
        import binascii
        import hashlib
        import hmac
        import struct
        import uuid
        import zlib

        NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "example.invalid")
        HEADER = struct.Struct("<4sHHI")
        MAGIC = b"EDIT"
        KEY = bytes.fromhex("00112233445566778899aabbccddeeff")

        def pack(payload: bytes, version=1) -> bytes:
            packed = zlib.compress(payload, 6)
            return HEADER.pack(MAGIC, version, 0, binascii.crc32(payload)) + packed

        def unpack(data: bytes) -> bytes:
            magic, version, _, check = HEADER.unpack_from(data)
            if magic != MAGIC or version != 1:
                raise ValueError(f"not ours: {magic!r}, version {version}")
            payload = zlib.decompress(memoryview(data)[HEADER.size :])
            assert binascii.crc32(payload) == check, "damaged"
            return payload

        def sign(payload):
            digest = hmac.new(KEY, payload, hashlib.sha256).digest()
            return base64.urlsafe_b64encode(digest).decode()

        def f(x):
            payload = b"tea " * x
            return (unpack(pack(payload)), sign(payload), str(uuid.uuid5(NAMESPACE, "row")),
                    hashlib.blake2b(payload, digest_size=8).hexdigest())
        """,
    ),
    same(
        "distances on the earth and conversions of units",
        r"""
        from __future__ import annotations
        from math import asin, cos, radians, sin, sqrt
        from typing import NamedTuple

        EARTH_RADIUS_KM = 6371.0088
        UNITS: dict[str, tuple[str, float]] = {
            "m": ("length", 1.0), "km": ("length", 1000.0), "mi": ("length", 1609.344),
            "s": ("time", 1.0), "h": ("time", 3600.0),
        }

        class Place(NamedTuple):
            name: str
            latitude: float
            longitude: float

            def to(self, other: Place) -> float:
                '''Kilometres on a great circle (haversine).'''
                a, b = radians(self.latitude), radians(other.latitude)
                across = radians(other.longitude - self.longitude)
                inner = sin((b - a) / 2) ** 2 + cos(a) * cos(b) * sin(across / 2) ** 2
                return 2 * EARTH_RADIUS_KM * asin(sqrt(inner))

        class UnitError(TypeError):
            pass

        class Quantity:
            __slots__ = ("unit", "value")
            def __init__(self, value: float, unit: str) -> None:
                self.value, self.unit = value, unit
            def to(self, unit: str) -> Quantity:
                (kind, factor), (other, by) = UNITS[self.unit], UNITS[unit]
                if kind != other:
                    raise UnitError(f"{self.unit} is {kind}, {unit} is {other}")
                return Quantity(self.value * factor / by, unit)
            def __add__(self, other: Quantity) -> Quantity:
                return Quantity(self.value + other.to(self.unit).value, self.unit)
            def __repr__(self) -> str:
                return f"{self.value:.3f} {self.unit}"

        CITIES = (
            Place("Bern", 46.948, 7.447), Place("Basel", 47.558, 7.588), Place("Chur", 46.85, 9.53),
        )

        def f(x):
            here = CITIES[0]
            far = Quantity(max(here.to(each) for each in CITIES), "km")
            try:
                far.to("h")
            except UnitError as error:
                problem = error
            return far + Quantity(x, "mi"), far.to("m"), str(problem)
        """,
    ),
    same(
        "a time series: smoothing, lags, a window that forgets",
        r"""
        import math
        from collections import deque
        from itertools import accumulate, islice

        ALPHA = 0.3
        SEASON = [math.sin(2 * math.pi * at / 12) for at in range(12)]

        def smooth(values, alpha=ALPHA):
            return list(accumulate(values, lambda old, new: alpha * new + (1 - alpha) * old))

        def windows(values, size):
            window = deque(islice(values, size - 1), maxlen=size)
            for value in islice(values, size - 1, None):
                window.append(value)
                yield tuple(window)

        def lags(values, *by):
            return [{f"lag_{n}": values[at - n] for n in by} for at in range(max(by), len(values))]

        def outliers(values, limit=3.0):
            mean = math.fsum(values) / len(values)
            spread = math.sqrt(math.fsum((each - mean) ** 2 for each in values) / len(values))
            return [at for at, each in enumerate(values) if abs(each - mean) > limit * spread]

        class Holt:
            '''Double exponential smoothing.'''
            def __init__(self, level=0.5, trend=0.4):
                self.level, self.trend = level, trend
            def forecast(self, values, ahead):
                level, slope = values[0], values[1] - values[0]
                for value in values[1:]:
                    before, level = level, self.level * value + (1 - self.level) * (level + slope)
                    slope = self.trend * (level - before) + (1 - self.trend) * slope
                return [level + slope * step for step in range(1, ahead + 1)]

        def f(x):
            values = [10 + at / 2 + SEASON[at % 12] for at in range(24)]
            values[7] += 40
            means = [round(sum(each) / len(each), 3) for each in windows(values, x)]
            told = [round(each, 3) for each in Holt().forecast(smooth(values), x)]
            return means[:3], told, lags([1, 2, 3, 4], 1, 2), outliers(values)
        """,
    ),
    # --- functions and objects ---
    same(
        "functools: dispatch, partial, reduce, cached properties, an order",
        r"""
        import functools
        import operator
        from datetime import date

        @functools.singledispatch
        def show(value):
            return str(value)

        @show.register
        def _(value: float):
            return f"{value:.2f}"

        @show.register(list)
        @show.register(tuple)
        def _several(value):
            return ", ".join(map(show, value))

        @show.register
        def _(value: date):
            return value.strftime("%d.%m.%Y")

        @functools.total_ordering
        class Grade:
            scale = "EDCBA"
            def __init__(self, letter):
                self.letter = letter
            @functools.cached_property
            def points(self):
                return self.scale.index(self.letter)
            def __eq__(self, other):
                return self.points == other.points
            def __lt__(self, other):
                return self.points < other.points
            def __hash__(self):
                return hash(self.points)
            def __repr__(self):
                return f"Grade({self.letter!r})"

        class Text:
            def __init__(self, text):
                self.text = text
            @functools.singledispatchmethod
            def add(self, what):
                return self.text + str(what)
            @add.register
            def _(self, what: int):
                return self.text * what
            twice = functools.partialmethod(add, 2)

        def compose(*functions):
            return functools.reduce(lambda one, two: lambda value: two(one(value)), functions)

        power = functools.partial(pow, exp=2)
        square_text = compose(power, float, show)
        product = functools.partial(functools.reduce, operator.mul)

        def compare(one, other):
            return (len(one), one) > (len(other), other) or -1

        def f(x):
            grades = [Grade("C"), Grade("A")]
            shown = show([x, 2.5, date(2026, 1, 31)])
            return (shown, max(grades), square_text(x), product([1, 2, x]),
                    Text("a").twice(), sorted(["10", "9", "1"], key=functools.cmp_to_key(compare)))
        """,
    ),
    same(
        "context managers, stacks of them, output that is caught",
        r"""
        import contextlib
        import io
        import os
        import time

        @contextlib.contextmanager
        def timed(label, log):
            started = time.monotonic()
            try:
                yield log
            finally:
                log.append((label, time.monotonic() >= started))

        @contextlib.contextmanager
        def changed(mapping, **values):
            before = dict(mapping)
            mapping.update(values)
            try:
                yield mapping
            finally:
                mapping.clear()
                mapping.update(before)

        class Transaction(contextlib.AbstractContextManager):
            def __init__(self, rows):
                self.rows = rows
            def __enter__(self):
                self.kept = list(self.rows)
                return self.rows
            def __exit__(self, kind, error, trace):
                if kind is not None:
                    self.rows[:] = self.kept
                return kind is ValueError

        @contextlib.asynccontextmanager
        async def resource(name):
            yield name.upper()

        def f(x):
            import asyncio
            log, rows, settings = [], [1, 2], {"mode": "fast"}
            with contextlib.ExitStack() as stack:
                for name in ("one", "two")[:x]:
                    stack.enter_context(timed(name, log))
                stack.callback(log.append, "closed")
                with changed(settings, mode="slow"), Transaction(rows) as open_rows:
                    open_rows.append(settings["mode"])
                    raise ValueError("undone")
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.suppress(FileNotFoundError):
                print("caught", end="")
                os.remove("no-such-file")

            async def use():
                async with contextlib.AsyncExitStack() as several:
                    return [await several.enter_async_context(resource(name)) for name in "ab"]

            return log, rows, settings, out.getvalue(), asyncio.run(use())
        """,
    ),
    same(
        "asyncio: limits, queues, timeouts",
        r"""
        import asyncio
        import random
        from collections.abc import AsyncIterator

        LIMIT = 2
        TIMEOUT = 5

        class Fetcher:
            def __init__(self, limit: int = LIMIT) -> None:
                self._free = asyncio.Semaphore(limit)
                self.most = self.now = 0

            async def get(self, number: int) -> int:
                async with self._free:
                    self.now += 1
                    self.most = max(self.most, self.now)
                    await asyncio.sleep(random.random() / 1000)
                    self.now -= 1
                if number == 2:
                    raise ConnectionError(f"no {number}")
                return number * number

        async def count(upto: int) -> AsyncIterator[int]:
            for number in range(upto):
                yield number
                await asyncio.sleep(0)

        async def worker(queue: asyncio.Queue, done: list) -> None:
            while (item := await queue.get()) is not None:
                done.append(item + 1)
                queue.task_done()

        async def pump(items) -> list:
            queue, done = asyncio.Queue(maxsize=2), []
            workers = [asyncio.create_task(worker(queue, done)) for _ in range(2)]
            for item in items:
                await queue.put(item)
            for _ in workers:
                await queue.put(None)
            await asyncio.gather(*workers)
            return sorted(done)

        async def main(x: int):
            fetcher = Fetcher()
            wanted = [number async for number in count(x)]
            answers = await asyncio.gather(*map(fetcher.get, wanted), return_exceptions=True)
            try:
                await asyncio.wait_for(asyncio.Event().wait(), timeout=0.01)
            except (asyncio.TimeoutError, TimeoutError):
                answers.append("late")
            return [str(each) for each in answers], fetcher.most <= LIMIT, await pump(wanted)

        def f(x):
            return asyncio.run(main(x))
        """,
    ),
    same(
        "asyncio: groups of tasks and of exceptions",
        r"""
        import asyncio

        class Rejected(Exception):
            def __init__(self, row, why):
                super().__init__(f"row {row}: {why}")
                self.row = row

        async def check(row, seen):
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
            if row % 2:
                raise Rejected(row, "odd")
            seen.append(row)

        async def all_of(rows):
            seen, refused = [], []
            try:
                async with asyncio.TaskGroup() as group:
                    for row in rows:
                        group.create_task(check(row, seen), name=f"row-{row}")
            except* Rejected as found:
                refused += sorted(error.row for error in found.exceptions)
            return seen, refused

        def validate(value):
            problems = []
            for test, told in CHECKS:
                if not test(value):
                    problems.append(ValueError(told))
            if problems:
                raise ExceptionGroup("invalid", problems)

        CHECKS = [(lambda v: v > 10, "too small"), (lambda v: v % 2 == 0, "odd")]

        def f(x):
            try:
                validate(x)
            except ExceptionGroup as group:
                return asyncio.run(all_of(range(x))), [str(each) for each in group.exceptions]
        """,
        needs="tomllib",  # has come with TaskGroup and except*, in Python 3.11
    ),
    same(
        "threads: a pool, a lock, a queue, in functions",
        r"""
        import os
        import queue
        import threading
        from concurrent.futures import ThreadPoolExecutor, as_completed

        WORKERS = min(4, os.cpu_count() or 1)

        class Total:
            def __init__(self):
                self.value = 0
                self.lock = threading.Lock()
            def add(self, amount):
                with self.lock:
                    self.value += amount

        def load(number):
            return number, sum(range(number))

        def in_pool(numbers):
            with ThreadPoolExecutor(WORKERS, thread_name_prefix="load") as pool:
                waiting = {pool.submit(load, number): number for number in numbers}
                return dict(sorted(done.result() for done in as_completed(waiting)))

        def in_threads(numbers):
            total, todo = Total(), queue.SimpleQueue()
            for number in numbers:
                todo.put(number)
            def work():
                while True:
                    try:
                        total.add(todo.get_nowait())
                    except queue.Empty:
                        return
            threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return total.value

        def f(x):
            return in_pool(range(x)), in_threads(range(x * 10))
        """,
    ),
    same(
        "decorators of one's own, with arguments",
        r"""
        import functools
        import inspect
        import logging
        import random
        import time
        import warnings

        log = logging.getLogger(__name__)

        def retried(times=3, on=(Exception,), wait=0.0, jitter=0.001):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    for attempt in range(1, times + 1):
                        try:
                            return function(*args, **kwargs)
                        except on as error:
                            if attempt == times:
                                raise
                            log.warning("%s: try %d failed: %s", function.__name__, attempt, error)
                            time.sleep(wait + random.random() * jitter)
                return wrapper
            return decorate

        def typed(function):
            signature = inspect.signature(function)
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                bound = signature.bind(*args, **kwargs)
                for name, value in bound.arguments.items():
                    wanted = signature.parameters[name].annotation
                    if isinstance(wanted, type) and not isinstance(value, wanted):
                        raise TypeError(f"{name} is {type(value).__name__}, not {wanted.__name__}")
                return function(*args, **kwargs)
            return wrapper

        def deprecated(instead):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    warnings.warn(f"use {instead}", DeprecationWarning, stacklevel=2)
                    return function(*args, **kwargs)
                return wrapper
            return decorate

        class Timed:
            '''A decorator that is a class, for functions.'''
            def __init__(self, function):
                functools.update_wrapper(self, function)
                self.function = function
            def __call__(self, *args, **kwargs):
                started = time.perf_counter()
                try:
                    return self.function(*args, **kwargs)
                finally:
                    log.debug("%s took %.3f s", self.__name__, time.perf_counter() - started)

        @retried(times=2, on=(ValueError,))
        @typed
        def parse(text: str, base: int = 10):
            return int(text, base)

        @deprecated("parse")
        def old_parse(text):
            return parse(text)

        @Timed
        def total(texts):
            return sum(map(parse, texts))

        def f(x):
            try:
                parse("nine")
            except ValueError as error:
                problem = str(error)
            return total(["1", str(x)]), old_parse("7"), problem
        """,
    ),
    same(
        "generators that delegate, a coroutine, a lazy pipeline",
        r"""
        import itertools
        from collections.abc import Generator, Iterable, Iterator

        LINES = ["# comment", "a=1", "", "b=2", "a=3", "broken"]

        def read(lines: Iterable[str]) -> Iterator[str]:
            for line in lines:
                if line and not line.startswith("#"):
                    yield line

        def pairs(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
            bad = 0
            for line in lines:
                name, found, value = line.partition("=")
                if not found:
                    bad += 1
                    continue
                yield name, int(value)
            return bad

        def walk(tree):
            if isinstance(tree, list):
                for each in tree:
                    yield from walk(each)
            else:
                yield tree

        def running_mean() -> Generator[float, float, None]:
            total, count, mean = 0.0, 0, 0.0
            while True:
                total += yield mean
                count += 1
                mean = total / count

        def counted(lines):
            bad = yield from pairs(read(lines))
            yield "bad", bad

        def batched(items, size):
            items = iter(items)
            while batch := list(itertools.islice(items, size)):
                yield batch

        def f(x):
            mean = running_mean()
            next(mean)
            means = [mean.send(value) for value in (1, 2, x)]
            flat = list(walk([1, [2, [x, []]], 4]))
            groups = {key: [value for _, value in group] for key, group in
                      itertools.groupby(sorted(counted(LINES)), key=lambda pair: pair[0])}
            return means, flat, groups, list(batched(range(7), x)), \
                list(itertools.starmap(pow, itertools.product([2, 3], repeat=2)))
        """,
    ),
    same(
        "match, walrus and unpacking",
        r"""
        from dataclasses import dataclass

        @dataclass
        class Move:
            x: int
            y: int = 0

        @dataclass
        class Say:
            text: str

        class Shape:
            __match_args__ = ("kind", "size")
            def __init__(self, kind, size):
                self.kind, self.size = kind, size

        DEFAULT = 1

        def run(command, state):
            match command:
                case Move(x=0, y=0):
                    return state
                case Move(x, y) if x >= 0:
                    return {**state, "x": state["x"] + x, "y": state["y"] + y}
                case Say(text=str(text)):
                    return {**state, "said": [*state.get("said", []), text]}
                case {"do": "jump", **rest}:
                    return {**state, "y": state["y"] + rest.get("high", DEFAULT)}
                case ["repeat", int(times), *commands]:
                    for _ in range(times):
                        for each in commands:
                            state = run(each, state)
                    return state
                case Shape("square" | "box", size):
                    return {**state, "area": size * size}
                case str() | bytes() as text:
                    return run(Say(str(text)), state)
                case _:
                    raise ValueError(f"unknown: {command!r}")

        def f(x):
            state = {"x": 0, "y": 0}
            commands = [
                Move(1, 2), {"do": "jump", "high": x}, ["repeat", x, Move(1), "hop"],
                Shape("box", 4),
            ]
            for command in commands:
                state = run(command, state)
            first, *_, last = sorted(state)
            if (area := state.get("area", 0)) > 10:
                state |= {"large": True}
            return state, first, last, area
        """,
    ),
    same(
        "numbers, vectors and matrices with operators",
        r"""
        from __future__ import annotations
        import math
        import operator
        from collections.abc import Iterable, Sequence

        class Vector:
            __slots__ = ("_parts",)
            def __init__(self, parts: Iterable[float]) -> None:
                self._parts = tuple(parts)
            def __len__(self) -> int:
                return len(self._parts)
            def __getitem__(self, at):
                return Vector(self._parts[at]) if isinstance(at, slice) else self._parts[at]
            def __iter__(self):
                return iter(self._parts)
            def __add__(self, other: Vector) -> Vector:
                return Vector(a + b for a, b in zip(self, other))
            def __mul__(self, by: float) -> Vector:
                if not isinstance(by, (int, float)):
                    return NotImplemented
                return Vector(each * by for each in self)
            __rmul__ = __mul__
            def __matmul__(self, other: Vector) -> float:
                if len(self) != len(other):
                    raise ValueError(f"{len(self)} and {len(other)} parts")
                return math.fsum(map(operator.mul, self, other))
            def __abs__(self) -> float:
                return math.hypot(*self._parts)
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Vector) and self._parts == other._parts
            def __hash__(self) -> int:
                return hash(self._parts)
            def __bool__(self) -> bool:
                return any(self._parts)
            def __repr__(self) -> str:
                return f"Vector({', '.join(f'{each:g}' for each in self)})"

        class Matrix(Sequence):
            def __init__(self, rows):
                self.rows = [Vector(row) for row in rows]
            def __getitem__(self, at):
                return self.rows[at]
            def __len__(self):
                return len(self.rows)
            def __matmul__(self, other):
                columns = [Vector(column) for column in zip(*other)]
                return Matrix([[row @ column for column in columns] for row in self])
            def __pow__(self, exponent):
                if exponent == 1:
                    return self
                half = self ** (exponent // 2)
                return half @ half @ self if exponent % 2 else half @ half
            def __repr__(self):
                return f"Matrix({self.rows})"

        UP = Vector([0, 1])
        FIBONACCI = Matrix([[1, 1], [1, 0]])

        def f(x):
            vector = 2 * UP + Vector([x, 0])
            empty = bool(Vector([]))
            parts = vector[1:], abs(vector), vector @ UP
            return vector, parts, FIBONACCI**10, empty, {vector: 1}
        """,
    ),
    same(
        "descriptors that validate, mixins, properties",
        r"""
        import json
        from abc import ABC, abstractmethod
        from weakref import WeakKeyDictionary

        class Validator(ABC):
            def __set_name__(self, owner, name):
                self.public, self.private = name, f"_{name}"
            def __get__(self, instance, owner=None):
                return self if instance is None else getattr(instance, self.private)
            def __set__(self, instance, value):
                setattr(instance, self.private, self.validate(value))
            @abstractmethod
            def validate(self, value): ...

        class Between(Validator):
            def __init__(self, low=None, high=None):
                self.low, self.high = low, high
            def validate(self, value):
                if self.low is not None and value < self.low:
                    raise ValueError(f"{self.public} is {value}: at least {self.low}")
                if self.high is not None and value > self.high:
                    raise ValueError(f"{self.public} is {value}: at most {self.high}")
                return value

        class OneOf(Validator):
            def __init__(self, *choices):
                self.choices = frozenset(choices)
            def validate(self, value):
                if value not in self.choices:
                    raise ValueError(f"{value!r} is none of {sorted(self.choices)}")
                return value

        class JsonMixin:
            def to_json(self):
                told = {name.lstrip("_"): value for name, value in vars(self).items()}
                return json.dumps(told, sort_keys=True)

        class ReprMixin:
            def __repr__(self):
                told = ", ".join(f"{k.lstrip('_')}={v!r}" for k, v in sorted(vars(self).items()))
                return f"{type(self).__name__}({told})"

        class Component(JsonMixin, ReprMixin):
            kind = OneOf("wood", "metal")
            quantity = Between(low=0, high=1000)

            def __init__(self, kind, quantity):
                self.kind = kind
                self.quantity = quantity

            @property
            def double(self):
                return self.quantity * 2

            @double.setter
            def double(self, value):
                self.quantity = value // 2

        def f(x):
            part = Component("wood", x)
            part.double = 20
            problems = []
            for values in (("glass", 1), ("metal", -1)):
                try:
                    Component(*values)
                except ValueError as error:
                    problems.append(str(error))
            return part, part.to_json(), part.double, problems
        """,
    ),
    same(
        "classes that register themselves, and a metaclass",
        r"""
        import csv
        import io
        import json

        class Reader:
            readers = {}
            extension = None

            def __init_subclass__(cls, /, extension=None, **kwargs):
                super().__init_subclass__(**kwargs)
                cls.extension = extension
                if extension:
                    Reader.readers[extension] = cls

            @classmethod
            def for_path(cls, path):
                _, _, extension = path.rpartition(".")
                try:
                    return cls.readers[extension]()
                except KeyError:
                    raise LookupError(f"no reader for {path}: {sorted(cls.readers)}") from None

            def read(self, text):
                raise NotImplementedError

        class JsonReader(Reader, extension="json"):
            def read(self, text):
                return json.loads(text)

        class CsvReader(Reader, extension="csv"):
            delimiter = ","
            def read(self, text):
                return list(csv.DictReader(io.StringIO(text), delimiter=self.delimiter))

        class TabReader(CsvReader, extension="tsv"):
            delimiter = "\t"

        class Table(type):
            '''Collects the columns of a class.'''
            def __new__(mcs, name, bases, space):
                made = super().__new__(mcs, name, bases, space)
                inherited = [each for base in bases for each in getattr(base, "columns", [])]
                own = [key for key, value in space.items() if isinstance(value, Column)]
                made.columns = inherited + own
                return made
            def __len__(cls):
                return len(cls.columns)

        class Column:
            def __init__(self, kind=str):
                self.kind = kind

        class Row(metaclass=Table):
            id = Column(int)
            def __init__(self, **values):
                for name in self.columns:
                    column = getattr(type(self), name)
                    setattr(self, name, column.kind(values[name]))

        class Sale(Row):
            shop = Column()
            amount = Column(float)

        def f(x):
            rows = Reader.for_path("a.tsv").read(f"id\tshop\tamount\n{x}\tnorth\t2.5\n")
            sales = [vars(Sale(**row)) for row in rows]
            try:
                Reader.for_path("a.xls")
            except LookupError as error:
                problem = str(error)
            return sales, Sale.columns, len(Sale), problem, Reader.for_path("b.json").read("[1]")
        """,
    ),
    same(
        "a registry of steps by decorator, and a table of plug-ins",
        {
            "nodes.py": r"""
        from steps import run
        from steps.registry import names
        def f(x):
            return run(["double", "add", "describe"], x), names()
        """,
            "steps/__init__.py": r"""
        '''Steps by name.'''
        from . import numbers, words
        from .registry import STEPS, get, step
        __all__ = ["STEPS", "run", "step"]

        def run(names, value):
            for name in names:
                value = get(name)(value)
            return value
        """,
            "steps/registry.py": r"""
        from __future__ import annotations
        from collections.abc import Callable
        from dataclasses import dataclass
        from typing import Any

        @dataclass(frozen=True)
        class Step:
            name: str
            function: Callable[[Any], Any]
            tags: frozenset[str] = frozenset()
            def __call__(self, value: Any) -> Any:
                return self.function(value)

        STEPS: dict[str, Step] = {}

        def step(name: str, *, tags: tuple[str, ...] = ()):
            '''Registers a function under a name.'''
            def register(function):
                if name in STEPS:
                    raise ValueError(f"{name} is there twice")
                STEPS[name] = Step(name, function, frozenset(tags))
                return function
            return register

        def get(name: str) -> Step:
            try:
                return STEPS[name]
            except KeyError:
                raise KeyError(f"no step {name!r}; there are {', '.join(sorted(STEPS))}") from None

        def names(tag: str | None = None) -> list[str]:
            return sorted(each.name for each in STEPS.values() if tag is None or tag in each.tags)
        """,
            "steps/numbers.py": r"""
        from .registry import step
        BY = 10

        @step("double", tags=("number",))
        def double(value):
            return value * 2

        @step("add", tags=("number",))
        def add(value, by=BY):
            return value + by
        """,
            "steps/words.py": r"""
        from .registry import step
        ENDINGS = {1: ""}

        @step("describe", tags=("text",))
        def describe(value):
            return f"{value} piece{ENDINGS.get(value, 's')}"
        """,
        },
    ),
    # --- packages, files and what surrounds the code ---
    same(
        "a package with classes, errors, constants and a façade",
        {
            "nodes.py": r"""
        from shop import Cart, Product, discounts
        from shop.errors import OutOfStock
        from shop.util.money import chf as format_money

        def f(x):
            tea, cake = Product("tea", 250), Product("cake", 420, stock=1)
            cart = Cart().add(tea, x).add(cake)
            try:
                cart.add(cake, 2)
            except OutOfStock as error:
                problem = error
            cheapest = discounts.best(cart)
            return format_money(cart.total), cheapest, str(problem), repr(cart)
        """,
            "shop/__init__.py": r"""
        from .cart import Cart
        from .models import Product

        __all__ = ["Cart", "Product"]
        __version__ = "1.2.0"
        """,
            "shop/errors.py": r"""
        class ShopError(Exception):
            '''What all errors of the shop are.'''

        class OutOfStock(ShopError):
            def __init__(self, product, wanted):
                super().__init__(f"{wanted} {product.name} are wanted, {product.stock} are there")
                self.product, self.wanted = product, wanted
        """,
            "shop/models.py": r"""
        from dataclasses import dataclass
        from .constants import STOCK

        @dataclass(frozen=True)
        class Product:
            name: str
            price: int
            stock: int = STOCK
        """,
            "shop/constants.py": "STOCK = 100\nBULK = 3\nRATES = {'bulk': 0.9, 'none': 1.0}\n",
            "shop/cart.py": r"""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from .errors import OutOfStock
        if TYPE_CHECKING:
            from .models import Product

        class Cart:
            def __init__(self) -> None:
                self._lines: dict[str, tuple[Product, int]] = {}

            def add(self, product: Product, count: int = 1) -> Cart:
                if count > product.stock:
                    raise OutOfStock(product, count)
                _, had = self._lines.get(product.name, (product, 0))
                self._lines[product.name] = product, had + count
                return self

            @property
            def total(self) -> int:
                return sum(product.price * count for product, count in self._lines.values())

            def __len__(self) -> int:
                return sum(count for _, count in self._lines.values())

            def __repr__(self) -> str:
                return f"<Cart {dict((name, count) for name, (_, count) in self._lines.items())}>"
        """,
            "shop/discounts.py": r"""
        from . import constants as c
        from .cart import Cart

        def none(cart: Cart) -> float:
            return cart.total * c.RATES["none"]

        def bulk(cart: Cart) -> float:
            return cart.total * (c.RATES["bulk"] if len(cart) > c.BULK else 1)

        ALL = (none, bulk)

        def best(cart: Cart) -> tuple[str, float]:
            return min(((each.__name__, each(cart)) for each in ALL), key=lambda told: told[1])
        """,
            "shop/util/__init__.py": "",
            "shop/util/money.py": r"""
        def chf(rappen: int) -> str:
            francs, rest = divmod(rappen, 100)
            return f"CHF {francs:,}.{rest:02}".replace(",", "'")
        """,
        },
    ),
    same(
        "data files beside the code",
        {
            "nodes.py": r"""
        import csv
        import json
        from pathlib import Path
        from lexicon import lookup

        HERE = Path(__file__).resolve().parent
        RATES = json.loads(Path(__file__).with_name("rates.json").read_text(encoding="utf-8"))

        def stations():
            with (HERE / "stations.csv").open(newline="", encoding="utf-8") as file:
                return {row["code"]: float(row["height"]) for row in csv.DictReader(file)}

        def f(x):
            return lookup("tea"), RATES["EUR"] * x, stations(), (HERE / "none.txt").exists()
        """,
            "rates.json": '{"EUR": 0.95, "USD": 0.88}\n',
            "stations.csv": "code,height\nBER,540\nJUN,3571\n",
            "lexicon/__init__.py": r"""
        from functools import lru_cache
        from importlib import resources

        @lru_cache(maxsize=None)
        def _words():
            text = resources.files(__package__).joinpath("words.txt").read_text(encoding="utf-8")
            return dict(line.split("\t") for line in text.splitlines())

        def lookup(word):
            return _words().get(word, word)
        """,
            "lexicon/words.txt": "tea\tTee\ncake\tKuchen\n",
        },
    ),
    same(
        "imports that may fail, versions and platforms",
        r"""
        from __future__ import annotations
        import os
        import platform
        import sys
        import warnings
        from typing import TYPE_CHECKING

        try:
            import orjson_that_nobody_has as fast_json
        except ImportError:
            fast_json = None
            import json

        try:
            from itertools import batched
        except ImportError:
            from itertools import islice

            def batched(items, size):
                items = iter(items)
                while batch := tuple(islice(items, size)):
                    yield batch

        if sys.version_info >= (3, 11):
            from typing import Self
        elif TYPE_CHECKING:
            from typing_extensions import Self

        if TYPE_CHECKING:
            from collections.abc import Iterable

        __all__ = ["f"]
        IS_WINDOWS = os.name == "nt" or platform.system() == "Windows"
        WORKERS = min(32, (os.cpu_count() or 1) + 4)
        ENDING = "\r\n" if IS_WINDOWS else "\n"

        class Builder:
            def __init__(self) -> None:
                self.lines: list[str] = []
            def add(self, line: str) -> Self:
                self.lines.append(line)
                return self
            def build(self) -> str:
                return ENDING.join(self.lines)

        def dumps(value: object) -> str:
            if fast_json is not None:
                return fast_json.dumps(value).decode()
            return json.dumps(value, separators=(",", ":"))

        def total(parts: Iterable[tuple[int, ...]]) -> list[int]:
            if sys.version_info < (3, 8):
                warnings.warn("this Python is old", RuntimeWarning, stacklevel=2)
            return [sum(part) for part in parts]

        def f(x):
            text = Builder().add(dumps([x, None])).add("end").build()
            return text, total(batched(range(7), x)), WORKERS > 0
        """,
    ),
    same(
        "warnings, tracebacks, chained exceptions",
        r"""
        import sys
        import traceback
        import warnings

        class PipelineError(Exception):
            '''A step failed.'''
            code = 1
            def __init__(self, step, *, hint=None):
                super().__init__(step)
                self.step, self.hint = step, hint
            def __str__(self):
                return f"{self.step} failed" + (f" ({self.hint})" if self.hint else "")

        class ConfigError(PipelineError):
            code = 2

        class LossyWarning(UserWarning):
            pass

        warnings.filterwarnings("ignore", category=LossyWarning)

        def shorten(value, digits=2):
            short = round(value, digits)
            if short != value:
                warnings.warn(f"{value} becomes {short}", LossyWarning, stacklevel=2)
            return short

        def step(value):
            try:
                return 10 / value
            except ZeroDivisionError as error:
                raise ConfigError("divide", hint="value is 0") from error

        def told(error):
            lines = traceback.format_exception_only(type(error), error)
            causes = []
            while error := error.__cause__ or error.__context__:
                causes.append(type(error).__name__)
            return lines[-1].strip(), causes

        def f(x):
            try:
                step(0)
            except PipelineError as error:
                line, causes = told(error)
                where = traceback.extract_tb(sys.exc_info()[2])[-1].name
                code = error.code
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                value = shorten(step(x), 1)
            return line, causes, where, code, value, [str(each.message) for each in caught]
        """,
    ),
    same(
        "progress bars",
        r"""
        from contextlib import nullcontext
        import io
        from tqdm import tqdm
        from tqdm.auto import trange

        BAR = {"desc": "rows", "unit": "row", "leave": False, "disable": None, "mininterval": 0.5}

        def sizes(rows):
            with tqdm(rows, file=io.StringIO(), **BAR) as bar:
                for row in bar:
                    bar.set_postfix(last=row)
                    yield len(row)

        def f(x):
            total = 0
            with nullcontext():
                for at in trange(x, disable=True):
                    total += at
            return list(sizes(["a", "bb", "c" * x])), total
        """,
        needs="tqdm",
    ),
    # --- whole programs, small ---
    same(
        "extract, validate, quarantine, load",
        r"""
        from __future__ import annotations
        import csv
        import io
        import json
        import logging
        from collections import Counter
        from collections.abc import Callable, Iterable
        from dataclasses import dataclass, field
        from typing import Any

        logger = logging.getLogger(__name__)
        Row = dict[str, Any]
        Check = Callable[[Row], "str | None"]

        RAW = "id,mail,age\n1,a@b.ch,31\n2,broken,40\n3,c@d.ch,-1\n3,e@f.ch,x\n"

        @dataclass
        class Report:
            good: list[Row] = field(default_factory=list)
            quarantine: list[tuple[Row, list[str]]] = field(default_factory=list)

            @property
            def reasons(self) -> dict[str, int]:
                reasons = (why for _, told in self.quarantine for why in told)
                return dict(Counter(reasons).most_common())

        def required(*names: str) -> Check:
            def check(row: Row) -> str | None:
                missing = [name for name in names if not row.get(name)]
                return f"missing {', '.join(missing)}" if missing else None
            return check

        def number(name: str, low: float = 0) -> Check:
            def check(row: Row) -> str | None:
                try:
                    return None if float(row[name]) >= low else f"{name} below {low}"
                except ValueError:
                    return f"{name} is no number"
            return check

        def mail(row: Row) -> str | None:
            return None if "@" in row["mail"] else "bad mail"

        CHECKS: tuple[Check, ...] = (required("id", "mail"), number("age"), mail)
        CASTS: dict[str, Callable[[str], Any]] = {"id": int, "age": int}

        def extract(text: str) -> Iterable[Row]:
            yield from csv.DictReader(io.StringIO(text))

        def validate(rows: Iterable[Row], checks: Iterable[Check] = CHECKS) -> Report:
            report = Report()
            for row in rows:
                if told := [why for check in checks if (why := check(row))]:
                    logger.warning("row %s is set aside: %s", row.get("id"), "; ".join(told))
                    report.quarantine.append((row, told))
                else:
                    report.good.append(row)
            return report

        def transform(row: Row) -> Row:
            return {name: CASTS.get(name, str)(value) for name, value in row.items()}

        def f(x):
            report = validate(extract(RAW))
            lines = "\n".join(json.dumps(transform(row), sort_keys=True) for row in report.good)
            return lines, report.reasons, len(report.quarantine) * x
        """,
    ),
]

if __name__ == "__main__":
    in_form(EDITS)
