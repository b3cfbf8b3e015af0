"""Every shape on the wire, against a file: what clients and services of other ages send and expect.

A field is only ever added. ``python -m tests.unit.test_wire_golden`` writes the files anew; a change of an old line
breaks somebody.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from caterva2 import errors, events, wire

GOLDEN = Path(__file__).with_name("golden")
EPOCH = "0f8fad5b-d9cb-469f-a165-70867728950e"
ENTRY = {"shape": [3], "chunks": [3], "blocks": [3], "dtype": "int64", "mtime": None}

MODELS: dict[str, BaseModel] = {
    "root-registration": wire.RootRegistration(
        name="foo", http="localhost:8001", publisher=EPOCH, epoch=EPOCH, nbytes=24
    ),
    "root": wire.Root(
        name="foo", http="localhost:8001", subscribed=True, state=wire.RootState.OFFLINE, offline_since=1.5
    ),
    "bus": wire.Bus(url="nats://localhost:4222", user="pub", password="secret"),
    "service-key": wire.ServiceKey(kid="abc", role="publisher", jwk={"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
    "manifest-header": wire.ManifestHeader(root="foo", epoch=EPOCH, seq=7, count=1),
    "manifest-entry": wire.ManifestEntry(
        path="a.b2nd", etag="v1", kind=wire.Kind.ARRAY, nbytes=24, mtime=1.5, seq=7, info=ENTRY
    ),
    "chunks-request": wire.ChunksRequest(ranges=[(0, 3), (7, 8)], skeleton=True),
    "part-request": wire.PartRequest(chunk=9, blocks=[(0, 1), (4, 6)]),
    "parts-request": wire.ChunksRequest(parts=[wire.PartRequest(chunk=9, blocks=[(0, 1), (4, 6)])]),
    "error": wire.ErrorBody.of(errors.DatasetNotFound("Not Found")),
    "dataset-event": events.DatasetEvent(
        root="foo",
        epoch=EPOCH,
        seq=7,
        operation=events.Operation.CHANGED,
        path="a.b2nd",
        etag="v1",
        kind=wire.Kind.ARRAY,
        nbytes=24,
        mtime=1.5,
        info=ENTRY,
    ),
    "root-fact": events.RootFact(name="foo", http="localhost:8001", publisher=EPOCH, epoch=EPOCH),
    "heartbeat": events.Heartbeat(epoch=EPOCH, seq=7),
}
FRAMES = wire.encode_frame_header(3, 4, bytes(range(16))) + b"\x02\x01\x00\xff" + wire.encode_end(1)


def test_every_model_has_a_golden_file():
    described = {
        model
        for module in (wire, events)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
    }
    # Golden infos are what services really answer: tests/integration/subscriber/test_wire_shapes.py.
    elsewhere = {wire.Request, wire.Answer, wire.SChunkInfo, wire.FreshnessInfo, *get_args(wire.Info)}
    assert described - elsewhere == {type(model) for model in MODELS.values()}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_written_and_read_as_it_always_was(name):
    golden = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert MODELS[name].model_dump_json(indent=2) + "\n" == golden
    assert type(MODELS[name]).model_validate_json(golden) == MODELS[name]


@pytest.mark.parametrize("name", MODELS)
def test_what_a_newer_release_adds_is_ignored_in_answers_and_refused_in_requests(name):
    model = MODELS[name]
    newer = {**model.model_dump(), "added_later": 1}
    if isinstance(model, wire.Request):
        with pytest.raises(ValidationError):
            type(model).model_validate(newer)
    else:
        assert type(model).model_validate(newer) == model


def test_the_framing_of_chunks_is_as_it_always_was():
    assert FRAMES.hex() == (GOLDEN / "chunk-frames.hex").read_text().strip()


def test_codes_of_errors_are_never_renamed():
    found = "".join(f"{code} {error.status}\n" for code, error in sorted(errors.BY_CODE.items()))
    assert found == (GOLDEN / "error-codes.txt").read_text()


def main() -> None:
    for name, model in MODELS.items():
        (GOLDEN / f"{name}.json").write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (GOLDEN / "chunk-frames.hex").write_text(FRAMES.hex() + "\n")
    codes = "".join(f"{code} {error.status}\n" for code, error in sorted(errors.BY_CODE.items()))
    (GOLDEN / "error-codes.txt").write_text(codes)


if __name__ == "__main__":
    main()
