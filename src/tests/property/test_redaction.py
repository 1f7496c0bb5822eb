"""Whatever the secret and wherever it stands, it does not come through; and what is no secret does."""

import logging
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.credentials import Secret
from infrastructure.redaction import REDACTED, SHORTEST_SECRET, Redaction
from tests.harness.effort import effort

#: Marks that no secret below is made of, so that none stands there by chance.
AROUND = st.text(alphabet="␀␁ \n", max_size=20)
SECRETS = st.text(st.characters(exclude_characters="␀␁", exclude_categories=["Cs"]), min_size=SHORTEST_SECRET, max_size=60)
KEYS = st.text("ABCDEFGHIJKLMNOPabcdefghijklmnop0123456789+/=_-", min_size=SHORTEST_SECRET, max_size=60)


def redaction_of(*texts: str) -> tuple[Redaction, list[Secret]]:
    """A registry, and what keeps its secrets alive."""
    redaction, secrets = Redaction(), [Secret(text) for text in texts]
    for secret in secrets:
        redaction.add(secret)
    return redaction, secrets


@effort(200)
@given(secret=SECRETS, before=AROUND, after=AROUND)
def test_any_secret_anywhere(secret: str, before: str, after: str) -> None:
    redaction, secrets = redaction_of(secret)
    assert redaction.redacted(f"{before}{secret}{after}") == f"{before}{REDACTED}{after}" and secrets


@effort(200)
@given(secret=KEYS, data=st.data())
def test_any_character_may_be_percent_encoded(secret: str, data: st.DataObject) -> None:
    redaction, secrets = redaction_of(secret)
    forms = [(character, quote(character, safe=""), f"%{ord(character):02x}", f"%{ord(character):02X}") for character in secret]
    written = "".join(data.draw(st.sampled_from(each)) for each in forms)
    assert redaction.redacted(f"?x={written}") == f"?x={REDACTED}" and secrets


@effort(200)
@given(secret=SECRETS, before=AROUND)
def test_any_secret_in_a_repr_of_a_repr(secret: str, before: str) -> None:
    redaction, secrets = redaction_of(secret)
    for shown in (repr({"a": before + secret}), repr(repr([secret])), ascii(secret)):
        assert REDACTED in redaction.redacted(shown) and secrets


@effort(200)
@given(secret=KEYS, others=st.lists(KEYS, max_size=4), before=AROUND, place=st.integers(0, 5))
def test_any_part_of_a_record(secret: str, others: list[str], before: str, place: int) -> None:
    redaction, secrets = redaction_of(*others, secret)
    text = before + secret
    record = logging.LogRecord("x", 9, "", 0, "a %s", (1,), None)
    if place == 0:
        record.msg, record.args = text.replace("%", "%%"), ()
    elif place == 1:
        record.args = (text,)
    elif place == 2:
        record.msg, record.args = "a %(a)s", {"a": [text], "b": text}
    elif place == 3:
        record.exc_text = text
    elif place == 4:
        record.stack_info = text
    else:
        record.held = {"a": text}
    assert redaction.filter(record) and secrets
    assert secret not in logging.Formatter().format(record) and secret not in repr(vars(record))


@effort(200)
@given(secrets=st.lists(KEYS, min_size=2, max_size=6))
def test_many_at_once(secrets: list[str]) -> None:
    redaction, living = redaction_of(*secrets)
    shown = redaction.redacted("\n".join(secrets))
    assert living and not any(secret in shown for secret in secrets)


@effort(200)
@given(text=st.text(max_size=200))
def test_any_text_is_read_and_nothing_is_redacted_twice(text: str) -> None:
    redaction, secrets = redaction_of("never-in-a-text-of-chance")
    once = redaction.redacted(text)
    assert redaction.redacted(once) == once and secrets
