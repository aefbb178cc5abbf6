"""PNG with a palette: a third of the size of Chromium's pictures."""

import collections
import itertools
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = (256, 128, 64, 32)
KEPT = 16


def smaller(picture, most_bytes):
    """`picture` in `most_bytes`, or with 32 colours. Similar colours become the most frequent one of them."""
    width, height, rows = pixels(picture)
    counts = collections.Counter()
    for row, times in collections.Counter(rows).items():
        for colour, count in collections.Counter(zip(row[0::3], row[1::3], row[2::3])).items():
            counts[colour] += times * count
    for most in COLOURS:
        small = encoded(width, height, rows, counts, chosen([colour for colour, _ in counts.most_common()], most))
        if len(small) <= most_bytes:
            break
    return small


def encoded(width, height, rows, counts, palette):
    index = {colour: at for at, colour in enumerate(palette)}
    for colour in counts.keys() - index.keys():
        index[colour] = min(range(len(palette)), key=lambda at: distance(palette[at], colour))
    packed = {row: bytes([0, *(index[colour] for colour in zip(row[0::3], row[1::3], row[2::3]))]) for row in set(rows)}
    data = zlib.compress(b"".join(packed[row] for row in rows), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = bytes(itertools.chain.from_iterable(palette))
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"PLTE", colours) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chosen(colours, most):
    """At most `most` of `colours`, which are in the order of their use: the first ones, and others as far apart as that needs."""
    for apart in itertools.count(step=2):
        palette = []
        for colour in colours:
            if len(palette) < KEPT or all(distance(colour, other) >= apart * apart for other in palette):
                palette.append(colour)
                if len(palette) > most:
                    break
        else:
            return palette


def distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pixels(picture):
    """Width, height and rows of a PNG with 8 bits of red, green, blue, and perhaps an alpha that is ignored."""
    assert picture.startswith(SIGNATURE)
    at, data = len(SIGNATURE), b""
    while at < len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        body = picture[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", body)
            assert depth == 8 and colour in (2, 6) and not interlaced
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    size = 4 if colour == 6 else 3
    raw, rows, former = zlib.decompress(data), [], bytes(width * size)
    for start in range(0, len(raw), width * size + 1):
        former = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + width * size]), former, size)
        rows.append(bytes(former) if size == 3 else bytes(itertools.chain.from_iterable(zip(*(former[i::4] for i in range(3))))))
    return width, height, rows


def unfiltered(kind, row, former, size):
    """PNG (third edition) section 9.2."""
    if kind == 1:
        for channel in range(size):
            row[channel::size] = bytes(itertools.accumulate(row[channel::size], lambda a, b: (a + b) & 255))
    elif kind == 2:
        row = bytes((a + b) & 255 for a, b in zip(row, former))
    elif kind in (3, 4):
        predicted = (lambda left, up, _: (left + up) // 2) if kind == 3 else paeth
        for at in range(len(row)):
            left, corner = (row[at - size], former[at - size]) if at >= size else (0, 0)
            row[at] = (row[at] + predicted(left, former[at], corner)) & 255
    return row


def paeth(left, up, corner):
    near = left + up - corner
    return min((left, up, corner), key=lambda value: abs(near - value))
