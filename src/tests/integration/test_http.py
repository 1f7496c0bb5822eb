"""Requests over real loopback sockets; only the waits between them are virtual."""

import asyncio
import gzip
import heapq
import math
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from aiohttp import web

from infrastructure.account_api import SignedCall
from infrastructure.clock import Clock
from infrastructure.errors import RequestFailed, SettingsError
from infrastructure.limits import Limiter
from infrastructure.networking.http import MAX_BODY_BYTES, Rest
from infrastructure.venue import Rate
from tests.harness import canary
from tests.harness.bare_server import BareServer, Certificates, Peer, run_on

Result = TypeVar("Result")
Run = Callable[[Coroutine[Any, Any, None]], None]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

PATH = "/api/v4/spot/order_book"
QUERY = {"currency_pair": "BTC_USDT", "with_id": "true", "key": "c4n4ry"}
#: When the virtual clock starts, in Unix seconds.
START_S = 1_700_000_000


class Highest(random.Random):
    """Draws the upper end of every range: a delay is its bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Lowest(random.Random):
    """Draws the lower end of every range: who waits for a turn waits no longer than the limit asks."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Time:
    """A clock that moves only here. Sleepers wake at once, or when ``advance`` says so."""

    def __init__(self, *, is_held: bool = False) -> None:
        self.ns = 0
        self.clock = Clock(lambda: self.ns, START_S * 10**9)
        self.slept: list[float] = []
        self._is_held = is_held
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._fell_asleep: asyncio.Queue[float] = asyncio.Queue()

    @property
    def s(self) -> float:
        return self.ns / 1e9

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        due_ns = self.ns + math.ceil(seconds * 1e9)
        if not self._is_held:
            self.ns = due_ns
            await asyncio.sleep(0)
            return
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due_ns, len(self.slept), waker))
        self._fell_asleep.put_nowait(seconds)
        await waker

    async def falls_asleep(self) -> float:
        """Wait for the next sleeper; for how long it wants to sleep."""
        return await self._fell_asleep.get()

    def advance(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        while self._sleepers and self._sleepers[0][0] <= self.ns:
            _, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)


class Server:
    """A venue on loopback that runs ``handler`` for each request."""

    def __init__(self, handler: Handler, time: Time | None = None, certificates: Certificates | None = None) -> None:
        self.time = time or Time()
        self.requests: list[web.BaseRequest] = []
        #: When each came, in virtual seconds.
        self.came_s: list[float] = []
        self._came = asyncio.Semaphore(0)
        self._handler = handler
        self._certificates = certificates
        self._scheme = "https" if certificates else "http"

    async def __aenter__(self) -> Self:
        self.runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self._certificates.server() if self._certificates else None)
        await site.start()
        self.url = f"{self._scheme}://localhost:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.came_s.append(self.time.s)
        self._came.release()
        return await self._handler(request)

    async def came(self, requests: int) -> None:
        """Wait for so many more requests."""
        for _ in range(requests):
            await self._came.acquire()

    def rest(self, **settings: Any) -> Rest:
        return rest_of(self.url, self.time, **settings)


def rest_of(url: str, time: Time | None = None, **settings: Any) -> Rest:
    time = time or Time()
    limiter = Limiter(time.clock.monotonic_ns, Lowest(), time.sleep)
    limiter.limit("rest", settings.pop("rate", Rate(1_000_000, 1.0)))
    return Rest(url, **{"limiter": limiter, "key": "rest", "chance": Highest(), "clock": time.clock, "sleep": time.sleep, **settings})


def answering(*answers: web.Response | int) -> Handler:
    """One answer after the other, the last for good; a number is a status."""
    left = list(answers)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, int):
            return web.Response(status=answer, text=f"answer {answer}")
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    return handle


def wait_please(status: int, retry_after: str) -> web.Response:
    return web.Response(status=status, text="slow down", headers={"Retry-After": retry_after})


async def failure_of(request: Awaitable[bytes]) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await request
    assert "c4n4ry" not in f"{caught.value!r} {caught.value} {caught.value.address}"
    return caught.value


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on an event loop, and sees to it that nothing is left there."""

    def on_loop(main: Coroutine[Any, Any, None]) -> None:
        async def checked() -> None:
            before = asyncio.all_tasks()
            await main
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0.005)  # A server takes a moment to notice that its client is gone.

        run_on(request.param, checked())

    return on_loop


class TestAnswers:
    def test_the_body_comes_back_as_it_was_sent(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(web.Response(body=b'{"id":1}\xff'))) as server, server.rest() as rest:
                assert await rest.get(PATH, QUERY) == b'{"id":1}\xff'
                (request,) = server.requests
                assert (request.method, request.path, dict(request.query)) == ("GET", PATH, QUERY)

        run(main())

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 451])
    def test_a_refusal_is_told_at_once_in_the_venues_words(self, run: Run, status: int) -> None:
        async def main() -> None:
            words = "invalid currency pair " + "x" * 10_000
            async with Server(answering(web.Response(status=status, text=words))) as server, server.rest() as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert failure.status == status
                assert failure.address == server.url + PATH
                assert failure.reason == f"HTTP {status}: {words[:200]}"
                assert len(server.requests) == 1 and server.time.slept == []

        run(main())

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, run: Run, status: int) -> None:
        async def main() -> None:
            async with Server(answering(200)) as elsewhere:
                there = web.Response(status=status, headers={"Location": elsewhere.url + PATH, "Retry-After": "5"})
                async with Server(answering(there)) as server, server.rest() as rest:
                    assert (await failure_of(rest.get(PATH, QUERY))).status == status
                    assert (len(server.requests), len(elsewhere.requests), server.time.slept) == (1, 0, [])

        run(main())

    def test_a_body_may_be_as_long_as_the_limit(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(web.Response(body=bytes(MAX_BODY_BYTES)))) as server, server.rest() as rest:
                assert len(await rest.get(PATH, QUERY)) == MAX_BODY_BYTES == 16 * 1024 * 1024

        run(main())

    def test_a_body_without_end_is_given_up_at_the_limit(self, run: Run) -> None:
        sent = 0

        async def endless(request: web.BaseRequest) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(bytes(256 * 1024))
                sent += 256 * 1024

        async def main() -> None:
            async with Server(endless) as server, server.rest() as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert "longer than 16777216 bytes" in failure.reason
                assert len(server.requests) == 1
                assert sent < MAX_BODY_BYTES + 16 * 1024 * 1024  # What the kernel's buffers take.

        run(main())

    def test_a_packed_body_is_neither_asked_for_nor_unpacked(self, run: Run) -> None:
        async def main() -> None:
            bomb = gzip.compress(bytes(10_000_000))
            response = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
            async with Server(answering(response)) as server, server.rest() as rest:
                assert await rest.get(PATH, QUERY) == bomb
                assert server.requests[0].headers["Accept-Encoding"] == "identity"

        run(main())

    def test_an_address_in_plain_text_must_be_of_this_machine(self) -> None:
        with pytest.raises(SettingsError):
            rest_of("http://api.venue.test")


#: What a venue is sent: bytes that another writer of addresses would write otherwise.
SENT_QUERY = f"symbol=BTC%2fUSDT&a=+b%20c&list=[1,2]&s='!*~&listenKey={canary.LISTEN_KEY}&signature={canary.SECRET}"


def signer(method: str = "POST", query: str = SENT_QUERY, body: str = "", path: str = PATH) -> Callable[[], SignedCall]:
    """Signs with a count: each call is another."""
    calls = count(1)
    return lambda: SignedCall(method, path, query, {"KEY": canary.KEY, "SIGN": f"{canary.SECRET}{next(calls)}"}, body)


async def sent_failure(request: Awaitable[bytes]) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await request
    canary.assert_hidden(caught.value)
    return caught.value


class TestSigned:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
    @pytest.mark.parametrize("body", ["", '{"text": "é", "price":"1.10"}'])
    def test_path_query_and_body_arrive_as_they_were_signed(self, run: Run, method: str, body: str) -> None:
        came: list[bytes] = []

        async def listen(peer: Peer) -> None:
            head = await peer.asked()
            came.append(head + await peer.reader.readexactly(len(body.encode())))
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        async def main() -> None:
            path = "/api/v3/a%2Fb/../c"
            async with BareServer(listen) as server, rest_of(f"http://localhost:{server.port}", headers={"X-Venue": "1"}) as rest:
                assert await rest.send(signer(method, body=body, path=path)) == b"{}"
            head, _, sent = came[0].partition(b"\r\n\r\n")
            line, *headers = head.decode().split("\r\n")
            assert line == f"{method} {path}?{SENT_QUERY} HTTP/1.1"
            assert sent == body.encode()
            assert {f"KEY: {canary.KEY}", f"SIGN: {canary.SECRET}1", "X-Venue: 1", "Accept-Encoding: identity"} <= set(headers)
            types = [header for header in headers if header.lower().startswith("content-type")]
            assert method == "GET" or types == ["Content-Type: application/json"]

        run(main())

    def test_without_a_query_there_is_no_question_mark(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(200)) as server, server.rest() as rest:
                await rest.send(signer(query=""))
                assert server.requests[0].raw_path == PATH

        run(main())

    def test_each_attempt_is_signed_anew_when_its_turn_has_come(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(503, wait_please(429, "7"), 200)) as server, server.rest(rate=Rate(1, 60.0)) as rest:
                signed_s: list[float] = []
                sign = signer()

                def signing() -> SignedCall:
                    signed_s.append(server.time.s)
                    return sign()

                assert await rest.send(signing) == b"answer 200"
                assert [request.headers["SIGN"] for request in server.requests] == [f"{canary.SECRET}{number}" for number in (1, 2, 3)]
                assert signed_s == server.came_s == [0.0, 60.0, 120.0]

        run(main())

    @pytest.mark.parametrize("status", [400, 401, 403, 404])
    def test_a_refusal_is_not_repeated_and_told_in_words_without_what_was_sent(self, run: Run, status: int) -> None:
        async def repeating(request: web.BaseRequest) -> web.StreamResponse:
            words = f"bad sign {request.headers['SIGN']} of {request.headers['KEY']}: {request.raw_path} {await request.text()}"
            return web.Response(status=status, text=words)

        async def main() -> None:
            async with Server(repeating) as server, server.rest() as rest:
                failure = await sent_failure(rest.send(signer(body=f'{{"a": "{canary.SECRET}"}}')))
                assert failure.words.startswith("bad sign <redacted> of <redacted>: ")
                assert (failure.status, failure.reason) == (status, f"HTTP {status}: {failure.words}")
                assert (len(server.requests), failure.address) == (1, server.url + PATH)

        run(main())

    def test_a_redirect_is_not_followed_and_takes_no_header_along(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(200)) as elsewhere:
                there = web.Response(status=307, headers={"Location": elsewhere.url + PATH})
                async with Server(answering(there)) as server, server.rest() as rest:
                    assert (await sent_failure(rest.send(signer()))).status == 307
                    assert (len(server.requests), elsewhere.requests) == (1, [])

        run(main())

    @pytest.mark.parametrize("script", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"SSH-2.0\r\n\r\n"])
    def test_an_answer_that_is_none_shows_nothing(self, run: Run, script: bytes) -> None:
        async def answer(peer: Peer) -> None:
            await peer.asked()
            await peer.send(script)
            peer.end()

        async def main() -> None:
            async with BareServer(answer) as server, rest_of(f"http://localhost:{server.port}") as rest:
                assert (await sent_failure(rest.send(signer()))).status is None

        run(main())

    def test_no_answer_and_no_server_show_nothing(self, run: Run) -> None:
        async def hang(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async def main() -> None:
            async with Server(hang) as server, server.rest(timeout_s=0.05, attempts=1) as rest:
                await sent_failure(rest.send(signer()))
                await rest.close()
                assert (await sent_failure(rest.send(signer()))).reason == "closed by us"
            async with rest_of(server.url, attempts=1) as rest:
                await sent_failure(rest.send(signer()))

        run(main())

    def test_one_that_is_cancelled_shows_nothing(self, run: Run) -> None:
        async def hang(request: web.BaseRequest) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        async def main() -> None:
            async with Server(hang) as server, server.rest() as rest:
                sending = asyncio.create_task(rest.send(signer()))
                await server.came(1)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await sending
                canary.assert_hidden(caught.value)

        run(main())

    @pytest.mark.parametrize("query", ["a b", "a#b", "a\r\nHost: x", "ü=1", "a\0"])
    def test_what_cannot_be_sent_as_it_stands_is_not_sent(self, run: Run, query: str) -> None:
        async def main() -> None:
            async with Server(answering(200)) as server, server.rest() as rest:
                assert "as it is sent" in (await sent_failure(rest.send(signer(query=query)))).reason
                assert "as it is sent" in (await sent_failure(rest.send(signer(path=f"/{query}")))).reason
                assert server.requests == []

        run(main())

    def test_what_the_signer_raises_comes_through(self, run: Run) -> None:
        def fail() -> SignedCall:
            raise ZeroDivisionError

        async def main() -> None:
            async with Server(answering(200)) as server, server.rest() as rest:
                with pytest.raises(ZeroDivisionError):
                    await rest.send(fail)

        run(main())


class TestRepeating:
    @pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
    def test_a_broken_server_is_asked_again_with_growing_delays(self, run: Run, status: int) -> None:
        async def main() -> None:
            async with Server(answering(status, status, status, 200)) as server, server.rest() as rest:
                assert await rest.get(PATH, QUERY) == b"answer 200"
                assert server.came_s == [0.0, 0.5, 1.5, 3.5]

        run(main())

    def test_no_more_often_than_so_many_times(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(503)) as server, server.rest(attempts=3) as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert (failure.status, failure.reason, failure.retry_after_s) == (503, "HTTP 503: answer 503", None)
                assert (len(server.requests), server.time.slept) == (3, [0.5, 1.0])

        run(main())

    def test_the_delays_have_full_jitter(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(503)) as server, server.rest(attempts=200, chance=random.Random(5)) as rest:
                await failure_of(rest.get(PATH, QUERY))
                late = server.time.slept[5:]
                assert all(0.0 <= slept <= 10.0 for slept in late)
                assert min(late) < 1.0 and max(late) > 9.0

        run(main())

    def test_a_server_that_is_down_is_asked_again(self, run: Run) -> None:
        async def main() -> None:
            with socket.socket() as bound:
                bound.bind(("127.0.0.1", 0))  # Nobody listens, and nobody else can.
                time = Time()
                async with rest_of(f"http://127.0.0.1:{bound.getsockname()[1]}", time) as rest:
                    failure = await failure_of(rest.get(PATH, QUERY))
            assert failure.status is None and "127.0.0.1" in failure.reason
            assert time.slept == [0.5, 1.0, 2.0]

        run(main())

    @pytest.mark.parametrize(
        "script",
        [
            b"",
            b"SSH-2.0-dropbear\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        ],
        ids=["no answer", "not HTTP", "half a body", "a bad chunk"],
    )
    def test_an_answer_that_is_none_is_asked_for_again(self, run: Run, script: bytes) -> None:
        async def answer(peer: Peer) -> None:
            await peer.asked()
            await peer.send(script)
            peer.end()

        async def main() -> None:
            time = Time()
            async with BareServer(answer) as server, rest_of(f"http://localhost:{server.port}", time) as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert failure.status is None and failure.reason
                assert time.slept == [0.5, 1.0, 2.0]

        run(main())

    @pytest.mark.parametrize("is_dripping", [False, True])
    def test_an_answer_must_be_whole_in_time(self, run: Run, is_dripping: bool) -> None:
        async def slow(request: web.BaseRequest) -> web.StreamResponse:
            if is_dripping:
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"[")
                    await asyncio.sleep(0.01)
            await asyncio.Event().wait()
            raise AssertionError

        async def main() -> None:
            async with Server(slow) as server, server.rest(timeout_s=0.1, attempts=2) as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert (failure.status, failure.reason) == (None, "no whole answer within 0.1 s")
                assert server.time.slept == [0.5]

        run(main())


class TestPauses:
    @pytest.mark.parametrize("status", [418, 429, 503])
    def test_the_wait_that_was_asked_for_is_kept_exactly(self, run: Run, status: int) -> None:
        async def main() -> None:
            async with Server(answering(wait_please(status, "37"), 200)) as server, server.rest() as rest:
                assert await rest.get(PATH, QUERY) == b"answer 200"
                assert server.came_s == [0.0, 37.0]

        run(main())

    def test_it_may_be_a_date(self, run: Run) -> None:
        async def main() -> None:
            date = format_datetime(datetime.fromtimestamp(START_S + 90, UTC), usegmt=True)
            async with Server(answering(wait_please(429, date), 200)) as server, server.rest() as rest:
                await rest.get(PATH, QUERY)
                assert server.came_s == [0.0, 90.0]

        run(main())

    @pytest.mark.parametrize(
        "retry_after",
        ["", "0", "-5", "soon", "1e9", "٣", "9" * 400, "Thu, 01 Jan 1970 00:00:00 GMT", f"Thu, 01 Jan {10**14} 00:00:00 GMT"],
    )
    def test_one_that_names_no_time_is_a_delay_like_others(self, run: Run, retry_after: str) -> None:
        async def main() -> None:
            async with Server(answering(wait_please(429, retry_after), 200)) as server, server.rest() as rest:
                await rest.get(PATH, QUERY)
                assert server.came_s == [0.0, 0.5]

        run(main())

    def test_the_failure_names_it_when_no_attempt_is_left(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(wait_please(429, "7"))) as server, server.rest(attempts=2) as rest:
                failure = await failure_of(rest.get(PATH, QUERY))
                assert (failure.status, failure.retry_after_s) == (429, 7.0)
                assert server.came_s == [0.0, 7.0]

        run(main())

    @pytest.mark.parametrize("attempts", [1, 4])
    @pytest.mark.parametrize("status", [418, 429, 503])
    def test_all_requests_keep_it(self, run: Run, status: int, attempts: int) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            async with Server(answering(wait_please(status, "60"), 200), time) as server, server.rest(attempts=attempts) as rest:
                first = asyncio.create_task(rest.get(PATH, QUERY))
                if attempts == 1:
                    await failure_of(first)
                else:
                    assert await time.falls_asleep() == 60.0
                others = [asyncio.create_task(rest.get(PATH, QUERY)) for _ in range(4)]
                assert await time.falls_asleep() == 60.0
                time.advance(59.9)
                await asyncio.sleep(0.01)
                assert server.came_s == [0.0]
                time.advance(0.1)
                assert await asyncio.gather(*others) == [b"answer 200"] * 4
                if attempts > 1:
                    assert await first == b"answer 200"
                assert set(server.came_s[1:]) == {60.0}

        run(main())

    def test_a_venue_that_names_no_time_is_left_alone_by_all_requests_too(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            async with Server(answering(429, 200), time) as server, server.rest(attempts=1) as rest:
                await failure_of(rest.get(PATH, QUERY))
                other = asyncio.create_task(rest.get(PATH, QUERY))
                assert await time.falls_asleep() == 0.5
                time.advance(0.5)
                await other

        run(main())

    def test_a_shorter_pause_does_not_cut_a_longer_one_short(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            answers = answering(wait_please(429, "60"), wait_please(429, "1"), 200)
            both_came = asyncio.Barrier(2)

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                if len(server.came_s) <= 2:
                    await both_came.wait()
                return await answers(request)

            async with Server(handle, time) as server, server.rest(attempts=1) as rest:
                await asyncio.gather(*(failure_of(rest.get(PATH, QUERY)) for _ in range(2)))
                other = asyncio.create_task(rest.get(PATH, QUERY))
                assert await time.falls_asleep() == 60.0
                time.advance(60.0)
                await other

        run(main())

    def test_a_pause_asked_for_later_is_kept_by_who_waits_already(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            is_answered = asyncio.Event()

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                await is_answered.wait()
                return await answer(request)

            answer = answering(wait_please(429, "60"), 200)
            async with Server(handle, time) as server, server.rest(rate=Rate(1, 1.0)) as rest:
                requests = [asyncio.create_task(rest.get(PATH, QUERY)) for _ in range(2)]
                assert await time.falls_asleep() == 1.0  # The second waits for a token.
                is_answered.set()
                assert await time.falls_asleep() == 60.0  # The first waits out its pause.
                time.advance(1.0)
                assert await time.falls_asleep() == 59.0
                time.advance(59.0)
                await server.came(2)
                assert await time.falls_asleep() == 1.0
                time.advance(1.0)
                await asyncio.gather(*requests)
                assert server.came_s == [0.0, 60.0, 61.0]

        run(main())


class TestLimit:
    def test_requests_that_exceed_it_wait_in_the_order_they_came(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            async with Server(answering(200), time) as server, server.rest(rate=Rate(3, 3.0)) as rest:
                requests = [asyncio.create_task(rest.get(PATH, {"number": str(number)})) for number in range(6)]
                await server.came(3)
                assert await time.falls_asleep() == 3.0
                requests += [asyncio.create_task(rest.get(PATH, {"number": str(number)})) for number in range(6, 9)]
                time.advance(3.0)
                await server.came(3)
                assert await time.falls_asleep() == 3.0
                time.advance(3.0)
                await server.came(3)
                await asyncio.gather(*requests)
                assert server.came_s == [0.0] * 3 + [3.0] * 3 + [6.0] * 3
                assert [request.query["number"] for request in server.requests[3:]] == ["3", "4", "5", "6", "7", "8"]

        run(main())

    def test_every_attempt_counts(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(503, 503, 200)) as server, server.rest(rate=Rate(1, 60.0)) as rest:
                await rest.get(PATH, QUERY)
                assert server.came_s == [0.0, 60.0, 120.0]

        run(main())

    def test_a_request_that_is_given_up_before_it_went_out_does_not_count(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            async with Server(answering(200), time) as server, server.rest(rate=Rate(1, 1.0)) as rest:
                await rest.get(PATH, QUERY)
                others = [asyncio.create_task(rest.get(PATH, QUERY)) for _ in range(50)]
                assert await time.falls_asleep() == 1.0
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                last = asyncio.create_task(rest.get(PATH, QUERY))
                assert await time.falls_asleep() == 1.0
                time.advance(1.0)
                await last
                assert server.came_s == [0.0, 1.0]

        run(main())


class TestSecurity:
    @pytest.mark.parametrize("name", ["expired", "wrong-host", "self-signed"])
    def test_who_cannot_prove_who_it_is_gets_no_request_and_no_second_try(self, run: Run, tmp_path: Path, name: str) -> None:
        certificates = Certificates(tmp_path)
        asked: list[bytes] = []

        async def listen(peer: Peer) -> None:
            asked.append(await peer.gone())

        async def main() -> None:
            time = Time()
            trusted = certificates.client()
            async with (
                BareServer(listen, tls=certificates.server(name)) as server,
                rest_of(f"https://localhost:{server.port}", time, ssl_context=trusted) as rest,
            ):
                failure = await failure_of(rest.get(PATH, QUERY))
            assert failure.status is None and "certificate" in failure.reason.lower()
            assert time.slept == [] and not any(asked)

        run(main())

    def test_without_a_context_the_systems_authorities_are_asked(self, run: Run, tmp_path: Path) -> None:
        async def main() -> None:
            async with Server(answering(200), certificates=Certificates(tmp_path)) as server, server.rest() as rest:
                assert "certificate" in (await failure_of(rest.get(PATH, QUERY))).reason.lower()

        run(main())

    def test_with_a_certificate_that_is_trusted_it_answers(self, run: Run, tmp_path: Path) -> None:
        certificates = Certificates(tmp_path)

        async def main() -> None:
            trusted = certificates.client()
            async with Server(answering(200), certificates=certificates) as server, server.rest(ssl_context=trusted) as rest:
                assert await rest.get(PATH, QUERY) == b"answer 200"

        run(main())


async def without_connections(server: Server) -> None:
    """Wait until the server has no connection left."""
    assert server.runner.server is not None
    while server.runner.server.connections:
        await asyncio.sleep(0.005)


class TestClosing:
    def test_one_connection_serves_all_requests_and_ends_with_close(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(200)) as server:
                rest = server.rest()
                for _ in range(3):
                    await rest.get(PATH, QUERY)
                assert len({request.transport for request in server.requests}) == 1
                assert server.runner.server is not None and len(server.runner.server.connections) == 1
                await rest.close()
                await rest.close()
                await without_connections(server)

        run(main())

    def test_it_can_be_made_and_closed_without_a_request(self, run: Run) -> None:
        rest = rest_of("https://api.venue.test")
        run(rest.close())

    def test_a_request_after_close_fails_and_opens_nothing(self, run: Run) -> None:
        async def main() -> None:
            async with Server(answering(200)) as server:
                rest = server.rest()
                await rest.close()
                assert (await failure_of(rest.get(PATH, QUERY))).reason == "closed by us"
                assert server.requests == []

        run(main())

    def test_a_request_under_way_fails_when_it_is_closed(self, run: Run) -> None:
        async def main() -> None:
            async with Server(never) as server:
                rest = server.rest()
                request = asyncio.create_task(rest.get(PATH, QUERY))
                await server.came(1)
                await rest.close()
                assert (await failure_of(request)).reason == "closed by us"
                assert len(server.requests) == 1

        run(main())

    @pytest.mark.parametrize("has_begun_the_body", [False, True])
    def test_a_request_that_is_cancelled_leaves_nothing(self, run: Run, has_begun_the_body: bool) -> None:
        async def half(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"[")
            return await never(request)

        async def main() -> None:
            async with Server(half if has_begun_the_body else never) as server, server.rest() as rest:
                request = asyncio.create_task(rest.get(PATH, QUERY))
                await server.came(1)
                await asyncio.sleep(0.02 if has_begun_the_body else 0.0)
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                await without_connections(server)

        run(main())

    def test_a_request_that_is_cancelled_before_the_handshake_is_over_leaves_nothing(self, run: Run) -> None:
        has_come = asyncio.Event()

        async def silent(peer: Peer) -> None:
            await peer.reader.readexactly(1)
            has_come.set()
            await peer.gone()

        async def main() -> None:
            async with BareServer(silent) as server, rest_of(f"https://localhost:{server.port}") as rest:
                request = asyncio.create_task(rest.get(PATH, QUERY))
                await has_come.wait()
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                await asyncio.gather(*server._tasks)  # Each ends with its connection.

        run(main())

    def test_one_that_waits_for_its_turn_can_be_cancelled_and_holds_nobody_up(self, run: Run) -> None:
        async def main() -> None:
            time = Time(is_held=True)
            async with Server(answering(wait_please(429, "60"), 200), time) as server, server.rest(attempts=1) as rest:
                await failure_of(rest.get(PATH, QUERY))
                first = asyncio.create_task(rest.get(PATH, QUERY))
                second = asyncio.create_task(rest.get(PATH, QUERY))
                assert await time.falls_asleep() == 60.0
                first.cancel()
                assert await time.falls_asleep() == 60.0
                time.advance(60.0)
                assert await second == b"answer 200"
                assert first.cancelled() and server.came_s == [0.0, 60.0]

        run(main())


async def never(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError
