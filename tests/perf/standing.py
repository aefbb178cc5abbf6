"""The cost of an idle proxy: memory, without and with waiting clients, and the time from start to first response."""

import statistics
import time

SETTLE_SECONDS = 1


def idle_memory(server):
    """Memory of a server after one request, in bytes."""
    server.start()
    try:
        time.sleep(SETTLE_SECONDS)
        return server.memory()
    finally:
        server.stop()


def memory_per_connection(server, opened, number):
    """Memory per waiting connection, in bytes, measured with `number` of them; `opened` opens one."""
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
    """Time from fork to the first complete response, median of `starts`."""
    took = []
    for _ in range(starts):
        began = time.perf_counter()
        try:
            server.start()
            took.append((time.perf_counter() - began) * 1000)
        finally:
            server.stop()
    return statistics.median(took)
