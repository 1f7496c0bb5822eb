"""What Gate.io's captures hold beside the values of their frames: answers, refusals, private frames, REST books."""

import json
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from infrastructure.exchanges import VENUES
from infrastructure.venue import Acknowledgement, BookUpdate, Pong, Unknown
from tests.harness.captures import lines
from tests.harness.gateio_reading import FUTURES, READERS, VENUE, expected, inbound, levels, symbol

EACH_VENUE = pytest.mark.parametrize("venue", READERS)


@EACH_VENUE
def test_the_captures_hold_every_public_channel_and_every_kind_of_answer(captures: Path, venue: str) -> None:
    codec = VENUES[venue].codec
    seen = Counter(
        (type(message).__name__, getattr(message, "error", None) is not None)
        for raw, _ in inbound(captures)
        for message in codec.decode(raw)
    )
    # No capture holds a pong of the futures, nor a liquidation.
    answers = [("Acknowledgement", False), ("Acknowledgement", True), *([("Pong", False)] if venue == VENUE else []), ("Unknown", False)]
    assert set(seen) == {*((kind, False) for kind in ("Trade", "BookTicker", "Ticker", "Candle", "BookUpdate")), *answers}
    assert {frame.get("channel") for _, frame in inbound(captures)} >= set(READERS[venue])
    assert set(VENUES[venue].channels) - set(READERS[venue]) == ({"futures.public_liquidates"} if venue == FUTURES else set())


@EACH_VENUE
def test_private_frames_and_those_of_the_other_market_are_answers_or_unknown(captures: Path, venue: str) -> None:
    others = [raw for raw, frame in inbound(captures) if frame.get("channel") not in READERS[venue]]
    decode = VENUES[venue].codec.decode
    assert others and {type(message) for raw in others for message in decode(raw)} - {Pong} == {Acknowledgement, Unknown}


@EACH_VENUE
def test_every_frame_reads_alike_as_text_and_as_bytes_and_what_is_unknown_has_a_name(captures: Path, venue: str) -> None:
    decode = VENUES[venue].codec.decode
    for raw, frame in inbound(captures):
        assert list(decode(raw)) == list(decode(raw.encode())) == expected(frame, venue), raw


@EACH_VENUE
def test_refusals_carry_the_venues_own_words(captures: Path, venue: str) -> None:
    refused = [(raw, frame["error"]) for raw, frame in inbound(captures) if frame.get("event") == "subscribe" and frame.get("error")]
    assert refused
    for raw, error in refused:
        (message,) = VENUES[venue].codec.decode(raw)
        assert isinstance(message, Acknowledgement)
        assert (message.error_code, message.error) == (str(error["code"]), error["message"])


def test_every_rest_book_decodes_to_the_values_in_its_text(captures: Path) -> None:
    answers = [line for line in lines(captures / "gateio_spot.jsonl") if line["dir"] == "http" and "order_book" in line["url"]]
    assert answers
    for line in answers:
        pair = parse_qs(urlsplit(line["url"]).query)["currency_pair"][0]
        body = json.loads(line["raw"])
        sides = levels(body["bids"]), levels(body["asks"])
        ns = body["update"] * 10**6 if "update" in body else None
        update = BookUpdate("spot.order_book_update", symbol(pair), body["id"], body["id"], *sides, True, ns)
        assert VENUES[VENUE].codec.decode_snapshot(symbol(pair), line["raw"]) == update
