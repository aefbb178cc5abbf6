"""What a proxy costs that does nothing: memory, at rest and with clients that wait, and the time until it answers."""

import statistics
import time

SETTLE_SECONDS = 1


def idle_memory(server):
    """Bytes of a server that has answered one request."""
    server.start()
    try:
        time.sleep(SETTLE_SECONDS)
        return server.memory()
    finally:
        server.stop()


def memory_per_connection(server, opened, number):
    """Bytes that each of `number` waiting connections adds; `opened` makes one."""
    server.start()
    waiting = []
    try:
        opened(server).close()
        time.sleep(SETTLE_SECONDS)
        before = server.memory()["Pss"]
        waiting += [opened(server) for _ in range(number)]
        time.sleep(SETTLE_SECONDS)
        return (server.memory()["Pss"] - before) / number
    finally:
        for client in waiting:
            client.close()
        server.stop()


def milliseconds_to_first_answer(server, starts):
    """From the fork to the first whole answer, median of `starts`."""
    took = []
    for _ in range(starts):
        began = time.perf_counter()
        try:
            server.start()
            took.append((time.perf_counter() - began) * 1000)
        finally:
            server.stop()
    return statistics.median(took)
