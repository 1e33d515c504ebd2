"""Processes that meet, exchange values, fail to come and get lost; here they are threads."""

import socket
import threading
import time

import pytest

from mrcnn.training.launchers import Place
from mrcnn.training.meeting import LOST_STATUS, Meeting


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def start(places, timeout=20.0):
    """Let all meet; returns meetings or errors by rank, and the messages of losses."""
    found, lost = {}, []

    def run(number, place):
        try:
            found[number] = Meeting(place, timeout, lambda *end: lost.append(end))
        except (ValueError, OSError) as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(places)]
    for thread in reversed(threads):  # process 0 last: the others wait for it
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(60)
    return [found[number] for number in range(len(places))], lost


def together(meetings, function):
    """The results of a function in all processes."""
    results = {}
    threads = [
        threading.Thread(target=lambda m=m: results.update({m.rank: function(m)})) for m in meetings
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [results[rank] for rank in range(len(meetings))]


@pytest.mark.parametrize("count", [2, 5])
def test_exchange(count):
    port = free_port()
    meetings, lost = start([Place(rank, count, "127.0.0.1", port) for rank in range(count)])
    expected = [{"rank": rank, "text": "é\n" * 1000} for rank in range(count)]
    for _ in range(3):
        found = together(meetings, lambda m: m.exchange({"rank": m.rank, "text": "é\n" * 1000}))
        assert found == [expected] * count
    assert together(meetings, lambda m: m.exchange(None)) == [[None] * count] * count
    for meeting in meetings:
        meeting.close()
    time.sleep(0.2)
    assert lost == []  # they have parted


def test_a_process_is_lost():
    port = free_port()
    meetings, lost = start([Place(rank, 3, "127.0.0.1", port) for rank in range(3)])
    begin = time.monotonic()
    meetings[2]._is_closed = True  # a process that is killed reports nothing
    meetings[2]._peers[0].close()
    while not lost and time.monotonic() < begin + 20:
        time.sleep(0.01)
    assert [(text.partition(";")[0], status) for text, status in lost] == [
        ("process 2 of 3 was lost", LOST_STATUS)
    ]
    assert meetings[0].lost == lost[0][0] and meetings[1].lost is None
    for meeting in meetings[:2]:
        meeting.close()


def test_a_process_fails():
    port = free_port()
    meetings, lost = start([Place(rank, 2, "127.0.0.1", port) for rank in range(2)])
    begin = time.monotonic()
    meetings[0].close(failed=True)
    while not lost and time.monotonic() < begin + 20:
        time.sleep(0.01)
    assert lost == [("process 0 of 2 ended with an error; its own output has more", 1)]
    assert meetings[1].lost is None
    meetings[1].end_if_lost(0.01)  # returns
    meetings[1].close()


def test_no_process_listens():
    place = Place(1, 2, "127.0.0.1", free_port())
    (error,), _ = start([place], timeout=0.5)
    assert isinstance(error, TimeoutError)
    assert f"process 0 did not answer at 127.0.0.1:{place.port} within 0.5 s" in str(error)


def test_unknown_host():
    (error,), _ = start([Place(1, 2, "no-such-host.invalid", 1234)], timeout=0.3)
    assert isinstance(error, TimeoutError) and "no-such-host.invalid:1234" in str(error)


def test_some_do_not_come():
    port = free_port()
    (first, third), _ = start([Place(rank, 4, "127.0.0.1", port) for rank in (0, 3)], timeout=1.0)
    assert isinstance(first, TimeoutError) and isinstance(third, TimeoutError)
    assert f"processes 1, 2 of 4 did not come to port {port} of this host within 1 s" in str(first)
    assert "closed the connection before all 4 processes had come" in str(third)


@pytest.mark.parametrize(
    "places, message",
    [
        (
            [(0, 3), (1, 3), (1, 3)],
            "two processes have the rank 1; every process must have its own",
        ),
        ([(0, 3), (1, 2)], "process 1 is one of 2; it must be one of 3, as process 0 is"),
        ([(0, 3), (0, 3)], None),
    ],
)
def test_contradictions(places, message):
    port = free_port()
    found, _ = start([Place(*place, "127.0.0.1", port) for place in places], timeout=1.5)
    if message is None:  # two first ones: the second finds the port in use
        assert any(isinstance(one, OSError) and f"port {port} of" in str(one) for one in found)
        return
    assert [str(one) for one in found] == [message] * len(places)


def test_strangers_are_sent_away():
    port = free_port()
    noise = []

    def knock():
        while not noise:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    noise.append(connection.recv(10))
            except OSError:
                time.sleep(0.01)

    thread = threading.Thread(target=knock)
    thread.start()
    places = [Place(rank, 2, "127.0.0.1", port) for rank in range(2)]
    first = []
    waiting = threading.Thread(target=lambda: first.append(Meeting(places[0], 20.0)))
    waiting.start()
    thread.join(20)
    second = Meeting(places[1], 20.0)
    waiting.join(20)
    assert noise == [b""]
    second.close()
    first[0].close()
