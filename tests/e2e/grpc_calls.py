"""A gRPC service and a client of it that tries every kind of call; bytes in, bytes out, no protoc.

`serve` tells its port and serves until it is killed. `call TARGET [CERTIFICATE]` plays all calls and prints what came of each.
"""

import json
import sys
import threading
from concurrent import futures

import grpc

cancelled = threading.Semaphore(0)


def unary(request, context):
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"), ("x-trailing-bin", b"\x00\xff")))
    return request.upper()


def refuse(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: %s ✓" % request.decode())


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def break_off(request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "that was all")


def collect(requests, context):
    return b",".join(requests)


def chat(requests, context):
    for request in requests:
        yield b"heard " + request


def hang(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    if gone.wait(30):
        cancelled.release()
    return b"late"


def was_cancelled(request, context):
    return b"yes" if cancelled.acquire(timeout=30) else b"no"


KINDS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "BreakOff": grpc.unary_stream_rpc_method_handler(break_off),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
}


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", KINDS),))
    print("port", server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def failure(error):
    return {"code": error.code().name, "details": error.details()}


def failing(call):
    try:
        call()
    except grpc.RpcError as error:
        return failure(error)
    return "no failure"


def conversation(chat):
    """Sends each line only after the answer to the one before: nothing on the way may wait for more."""
    lines, answered = iter([b"one", b"two", b"three"]), threading.Semaphore(1)

    def say():
        for line in lines:
            answered.acquire()
            yield line

    heard = []
    for answer in chat(say(), timeout=60):
        heard.append(answer.decode())
        answered.release()
    return heard


def broken_stream(call):
    heard = []
    try:
        for answer in call(b"", timeout=60):
            heard.append(answer.decode())
    except grpc.RpcError as error:
        return heard, failure(error)
    return heard, "no failure"


def cancel(call):
    hanging = call.future(b"", timeout=60)
    threading.Timer(0.3, hanging.cancel).start()
    try:
        hanging.result()
    except grpc.FutureCancelledError:
        return "cancelled"
    return "no failure"


def call(target, certificate=None):
    if certificate:
        with open(certificate, "rb") as file:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()))
    else:
        channel = grpc.insecure_channel(target)
    one, many = channel.unary_unary, channel.unary_stream
    answer, done = one("/test.Service/Unary").with_call(b"hello", timeout=60, metadata=(("x-sent-bin", b"\x01"),))
    initial = dict(done.initial_metadata()).get("x-initial")
    trailing = {name: str(value) for name, value in done.trailing_metadata() if name.startswith("x-trailing")}
    large = b"x" * 3_000_000
    results = {
        "unary": [answer.decode(), initial, trailing],
        "large": one("/test.Service/Unary")(large, timeout=60) == large.upper(),
        "refused": failing(lambda: one("/test.Service/Refuse")(b"x", timeout=60)),
        "unknown": failing(lambda: one("/test.Service/Nothing")(b"x", timeout=60)),
        "counted": [number.decode() for number in many("/test.Service/Count")(b"500", timeout=60)][-1],
        "broken": broken_stream(many("/test.Service/BreakOff")),
        "collected": channel.stream_unary("/test.Service/Collect")(iter([b"a", b"b", b"c"]), timeout=60).decode(),
        "conversation": conversation(channel.stream_stream("/test.Service/Chat")),
        "late": failing(lambda: one("/test.Service/Hang")(b"", timeout=0.5))["code"],
        "late is cancelled": one("/test.Service/WasCancelled")(b"", timeout=60).decode(),
        "cancelled": cancel(one("/test.Service/Hang")),
        "cancel is cancelled": one("/test.Service/WasCancelled")(b"", timeout=60).decode(),
    }
    print(json.dumps(results))


if sys.argv[1] == "serve":
    serve()
else:
    call(*sys.argv[2:])
