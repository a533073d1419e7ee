"""Small RDB files made by hand, for the scripted primary.

Grammar: "REDIS" version(4 digits) aux* [0xFE db 0xFB size expires (0x00 key value)*]* 0xFF crc(8, zero = none).
Version 9 is read by every server from 5.0 on.
"""


def _length(value):
    if value < 64:
        return bytes([value])
    if value < 16384:
        return bytes([0x40 | value >> 8, value & 0xFF])
    return b"\x80" + value.to_bytes(4, "big")


def _string(value):
    data = value if isinstance(value, bytes) else str(value).encode()
    return _length(len(data)) + data


def make_rdb(replid, offset, databases=None, selected=0, version=9):
    """`databases`: {number: {key: value}}, string values."""
    out = b"REDIS%04d" % version
    aux = {"redis-ver": "6.2.0", "redis-bits": 64, "repl-stream-db": selected, "repl-id": replid,
           "repl-offset": offset}
    for name, value in aux.items():
        out += b"\xfa" + _string(name) + _string(value)
    for number, keys in (databases or {}).items():
        out += b"\xfe" + _length(number) + b"\xfb" + _length(len(keys)) + _length(0)
        for key, value in keys.items():
            out += b"\x00" + _string(key) + _string(value)
    return out + b"\xff" + bytes(8)
