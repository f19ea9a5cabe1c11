"""redis-py against an address: redis_py.py HOST PORT plain|cluster PROTOCOL gateway|server

`server` leaves out what only the gateway does, so that the same checks tell whether the library or the gateway is
to blame: run `plain` against a lone redis-server, `cluster` against a lone one in cluster mode that owns every slot.
"""

import asyncio
import random
import socket
import sys
import threading
import time

import redis
import redis.asyncio
from checks import Checks, refused, same
from redis.exceptions import RedisError, ResponseError

HOST, PORT, MODE, PROTOCOL, TARGET = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
PLAIN = MODE == "plain"
GATEWAY = TARGET == "gateway"

# What redis-server 7.0 says of a client; older redis-py reads these without asking whether they are there.
CLIENT_FIELDS = set(
    "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl oll omem"
    " tot-mem events cmd user redir resp".split()
)


def connect(**more):
    options = {"host": HOST, "port": PORT, "protocol": PROTOCOL, "socket_timeout": 30, **more}
    return redis.Redis(**options) if PLAIN else redis.RedisCluster(**options)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


# Values of one key


def strings(r):
    same(r.set("s", "one"), True)
    same(r.get("s"), b"one")
    same(r.get("absent"), None)
    same(r.append("s", " two"), 7)
    same(r.getrange("s", 4, -1), b"two")
    same(r.setrange("s", 0, "ONE"), 7)
    same(r.strlen("s"), 7)
    same(r.set("s", "x", nx=True), None)
    same(r.set("s", "new", get=True), b"ONE two")
    same(r.getset("s", "newer"), b"new")
    same(r.getdel("s"), b"newer")
    same(r.setnx("s", 1), True)
    same([r.incr("n"), r.incrby("n", 9), r.decr("n"), r.decrby("n", 4)], [1, 10, 9, 5])
    same(r.incrbyfloat("f", 1.5), 1.5)
    same(r.set("empty", ""), True)
    same(r.get("empty"), b"")


def hashes(r):
    same(r.hset("h", mapping={"a": 1, "b": 2, "c": "x"}), 3)
    same(r.hgetall("h"), {b"a": b"1", b"b": b"2", b"c": b"x"})
    same(r.hget("h", "a"), b"1")
    same(r.hmget("h", "a", "nope", "c"), [b"1", None, b"x"])
    same([r.hlen("h"), r.hexists("h", "a"), r.hincrby("h", "a", 4), r.hdel("h", "b", "z")], [3, True, 5, 1])
    same(sorted(r.hkeys("h")), [b"a", b"c"])
    same(sorted(r.hvals("h")), [b"5", b"x"])
    same(r.hstrlen("h", "c"), 1)
    r.hset("big-hash", mapping={f"field{i}": i for i in range(2000)})
    same(len(dict(r.hscan_iter("big-hash", count=100))), 2000)
    same(len(r.hgetall("big-hash")), 2000)
    same(len(r.hrandfield("big-hash", 5)), 5)


def lists(r):
    same(r.rpush("l", *range(10)), 10)
    same(r.lpush("l", "first"), 11)
    same(r.lrange("l", 0, 2), [b"first", b"0", b"1"])
    same([r.lindex("l", -1), r.llen("l"), r.lpos("l", "3")], [b"9", 11, 4])
    same([r.lpop("l"), r.rpop("l"), r.lpop("l", 2)], [b"first", b"9", [b"0", b"1"]])
    same(r.linsert("l", "BEFORE", "2", "mid"), 8)
    same(r.lrem("l", 1, "mid"), 1)
    same(r.ltrim("l", 0, 1), True)
    same(r.lset("l", 0, "zero"), True)
    same(r.lrange("l", 0, -1), [b"zero", b"3"])
    same(r.lmove("l", "l", "LEFT", "RIGHT"), b"zero")
    same(r.rpush("{l}1", "a"), 1)
    same(r.rpoplpush("{l}1", "{l}2"), b"a")


def sets(r):
    same(r.sadd("{s}a", 1, 2, 3), 3)
    same(r.sadd("{s}b", 2, 3, 4), 3)
    same(set(r.smembers("{s}a")), {b"1", b"2", b"3"})
    same([r.scard("{s}a"), bool(r.sismember("{s}a", 2)), r.srem("{s}a", 9)], [3, True, 0])
    same(r.smismember("{s}a", [1, 9]), [1, 0])
    same(set(r.sinter("{s}a", "{s}b")), {b"2", b"3"})
    same(set(r.sunion("{s}a", "{s}b")), {b"1", b"2", b"3", b"4"})
    same(set(r.sdiff("{s}a", "{s}b")), {b"1"})
    same(r.sinterstore("{s}c", "{s}a", "{s}b"), 2)
    same(r.sintercard(2, ["{s}a", "{s}b"]), 2)
    same(bool(r.smove("{s}a", "{s}b", 1)), True)
    same(r.spop("{s}c") in (b"2", b"3"), True)
    r.sadd("big-set", *range(3000))
    same(len(set(r.sscan_iter("big-set"))), 3000)


def sorted_sets(r):
    same(r.zadd("{z}a", {"one": 1, "two": 2, "three": 3}), 3)
    same([tuple(pair) for pair in r.zrange("{z}a", 0, -1, withscores=True)], [(b"one", 1.0), (b"two", 2.0), (b"three", 3.0)])
    same([r.zscore("{z}a", "two"), r.zrank("{z}a", "two"), r.zcard("{z}a")], [2.0, 1, 3])
    same(r.zincrby("{z}a", 0.5, "one"), 1.5)
    same(r.zrangebyscore("{z}a", "-inf", "(3"), [b"one", b"two"])
    same(r.zrevrange("{z}a", 0, 0), [b"three"])
    same(r.zadd("{z}b", {"two": 5}), 1)
    same(r.zunionstore("{z}c", ["{z}a", "{z}b"]), 3)
    same(r.zscore("{z}c", "two"), 7.0)
    same(r.zinter(["{z}a", "{z}b"]), [b"two"])
    same(r.zmscore("{z}a", ["one", "nope"]), [1.5, None])
    popped = r.zpopmin("{z}c")  # a list of pairs in RESP2, one pair in RESP3
    same(tuple(popped[0]) if len(popped) == 1 else tuple(popped), (b"one", 1.5))
    same(r.zremrangebyrank("{z}c", 0, -1), 2)
    same(r.zscore("{z}a", "nope"), None)


def streams(r):
    first = r.xadd("st", {"a": 1})
    second = r.xadd("st", {"a": 2, "b": 3})
    same(r.xlen("st"), 2)
    same([entry[0] for entry in r.xrange("st")], [first, second])
    same(r.xrange("st")[1][1], {b"a": b"2", b"b": b"3"})
    same(r.xgroup_create("st", "group", id="0"), True)
    same(len(r.xread({"st": "0"}, count=10)), 1)
    same(len(r.xreadgroup("group", "me", {"st": ">"}, count=1)), 1)
    same(r.xpending("st", "group")["pending"], 1)
    same(r.xack("st", "group", first), 1)
    same(r.xinfo_stream("st")["length"], 2)
    same(len(r.xinfo_groups("st")), 1)
    same(r.xdel("st", first), 1)
    same(r.xtrim("st", maxlen=0), 1)


def counters_and_bits(r):
    same(r.pfadd("{hll}a", *range(1000)), 1)
    same(950 < r.pfcount("{hll}a") < 1050, True)
    r.pfadd("{hll}b", *range(500, 1500))
    same(r.pfmerge("{hll}c", "{hll}a", "{hll}b"), True)
    same(1400 < r.pfcount("{hll}c") < 1600, True)
    same([r.setbit("{bits}a", 7, 1), r.getbit("{bits}a", 7), r.bitcount("{bits}a"), r.bitpos("{bits}a", 1)], [0, 1, 1, 7])
    r.set("{bits}b", b"\xff")
    same(r.bitop("AND", "{bits}c", "{bits}a", "{bits}b"), 1)
    same(r.get("{bits}c"), b"\x01")
    same(r.bitfield("bf").set("u8", 0, 200).get("u8", 0).execute(), [0, 200])


def places(r):
    same(r.geoadd("geo", [13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"]), 2)
    same(round(r.geodist("geo", "Palermo", "Catania", unit="km")), 166)
    same(r.geosearch("geo", longitude=15, latitude=37, radius=100, unit="km"), [b"Catania"])
    same(round(r.geopos("geo", "Palermo")[0][0], 3), 13.361)
    same(r.geopos("geo", "nowhere"), [None])


def expiry(r):
    r.set("e", 1, ex=100)
    same(90 < r.ttl("e") <= 100, True)
    same([r.expire("e", 50), r.persist("e"), r.ttl("e"), r.ttl("absent")], [True, True, -1, -2])
    same(r.pexpireat("e", int(time.time() * 1000) + 60000), True)
    same(50000 < r.pttl("e") <= 60000, True)
    r.set("soon", 1, px=60)
    time.sleep(0.2)
    same(r.get("soon"), None)


def keys_of_any_type(r):
    r.set("{k}a", "v")
    same([text(r.type("{k}a")), text(r.type("absent")), text(r.object("encoding", "{k}a"))], ["string", "none", "embstr"])
    same(r.rename("{k}a", "{k}b"), True)
    same(r.copy("{k}b", "{k}c"), True)
    same(r.restore("{k}d", 0, r.dump("{k}c")), b"OK")
    same(r.get("{k}d"), b"v")
    r.rpush("{k}list", 3, 1, 2)
    same(r.sort("{k}list"), [b"1", b"2", b"3"])
    same(r.sort("{k}list", store="{k}sorted"), 3)
    same(r.memory_usage("{k}a") is None and r.memory_usage("{k}b") > 0, True)


# Many keys


def pipeline_over_many_slots(r):
    pipe = r.pipeline(transaction=False) if PLAIN else r.pipeline()
    for i in range(1000):
        pipe.set(f"p:{i}", f"value {i}")
    same(pipe.execute(), [True] * 1000)
    for i in range(1000):
        pipe.get(f"p:{i}")
    same(pipe.execute(), [f"value {i}".encode() for i in range(1000)])


def transactions(r):
    pipe = r.pipeline(transaction=True)
    pipe.set("{x}a", 1).incr("{x}a").lpush("{x}a", "wrong type").get("{x}a")
    replies = pipe.execute(raise_on_error=False)
    same((replies[:2], type(replies[2]).__name__, replies[3]), ([True, 2], "ResponseError", b"2"))
    pipe = r.pipeline(transaction=True)
    pipe.set("{x}a", "y" * 3_000_000).strlen("{x}a").ping().get("{x}a")
    same(pipe.execute(), [True, 3_000_000, True, b"y" * 3_000_000])
    refused(lambda: r.pipeline(transaction=True).set("{x}a", 1).execute_command("GET").execute(), "wrong number of arguments", kind=ResponseError)
    same(r.strlen("{x}a"), 3_000_000)
    r.set("{x}counter", 0)
    wrong = []

    def one_client():
        try:
            one = connect()
            for _ in range(50):
                one.transaction(add_one, "{x}counter")  # tries again until nobody was faster
            one.close()
        except (AssertionError, RedisError, OSError) as error:
            wrong.append(f"{type(error).__name__}: {error}")

    def add_one(pipe):
        value = int(pipe.get("{x}counter"))
        pipe.multi()
        pipe.set("{x}counter", value + 1)

    threads = [threading.Thread(target=one_client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same((wrong, r.get("{x}counter")), ([], b"400"))


def client_side_caching(r):
    # the library asks for a Redis 7.4; what it needs of it is there since 6, and in Valkey
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    hello = r.execute_command("HELLO")
    hello = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2]))
    redis.connection.CacheProxyConnection.DEFAULT_SERVER_NAME = hello[b"server"].decode()
    caching = redis.Redis(host=HOST, port=PORT, protocol=3, cache_config=redis.cache.CacheConfig(), socket_timeout=10)
    keys = [f"cached:{i}" for i in range(100)]

    def soon(values):  # a word on its way may be a moment behind
        for _ in range(100):
            if [caching.get(key) for key in keys] == values:
                return
            time.sleep(0.02)
        same([caching.get(key) for key in keys], values)

    for turn in range(5):
        for key in keys:
            r.set(key, turn)
        soon([str(turn).encode()] * 100)
        same(caching.get_cache().size, 100)
    caching.close()


def pipeline_of_mixed_replies_keeps_its_order(r):
    pipe = r.pipeline(transaction=False) if PLAIN else r.pipeline()
    for i in range(300):
        pipe.set(f"m:{i}", i)
        pipe.incr(f"m:{i}")
        pipe.lpush(f"m:{i}", "wrong type")
        pipe.get(f"m:{i}")
    replies = pipe.execute(raise_on_error=False)
    same(len(replies), 1200)
    for i in range(300):
        ok, number, error, value = replies[i * 4 : i * 4 + 4]
        same((ok, number, value), (True, i + 1, str(i + 1).encode()))
        same("WRONGTYPE" in str(error), True)


def deep_pipeline(r):
    pipe = r.pipeline(transaction=False)
    for i in range(20000):
        pipe.echo(str(i)) if i % 3 == 0 else pipe.get(f"p:{i % 1000}")
    replies = pipe.execute()
    same(len(replies), 20000)
    for i in range(20000):
        same(replies[i], str(i).encode() if i % 3 == 0 else f"value {i % 1000}".encode())


def split_commands(r):
    keys = [f"split:{i}" for i in range(500)]
    same(r.mset({key: key.upper() for key in keys}), True)
    same(r.mget(keys), [key.upper().encode() for key in keys])
    same(r.mget(keys[3], "absent", keys[3], keys[1]), [b"SPLIT:3", None, b"SPLIT:3", b"SPLIT:1"])
    r.lpush("split:list", 1)
    same(r.mget("split:list", keys[0]), [None, b"SPLIT:0"])
    same(r.exists(*keys, "absent", keys[0]), 501)
    same(r.touch(*keys, "absent"), 500)
    same(r.delete(*keys[:200], "absent"), 200)
    same(r.unlink(*keys), 300)
    same(r.exists(*keys), 0)
    refused(lambda: r.execute_command("MSET", "a", 1, "b"), "wrong number of arguments", "mset")
    refused(lambda: r.execute_command("MGET"), "wrong number of arguments", "mget")


def split_in_a_pipeline(r):
    pipe = r.pipeline(transaction=False)
    for i in range(100):
        pipe.mset({f"sp:{i}:{j}": j for j in range(10)})
        pipe.mget([f"sp:{i}:{j}" for j in range(10)])
        pipe.get(f"sp:{i}:3")
        pipe.delete(*[f"sp:{i}:{j}" for j in range(10)])
    replies = pipe.execute()
    expected = [True, [str(j).encode() for j in range(10)], b"3", 10]
    same(replies, expected * 100)


def split_by_the_library(r):
    keys = [f"split:{i}" for i in range(200)]
    same(all(r.mset_nonatomic({key: key.upper() for key in keys})), True)
    same(r.mget_nonatomic(keys), [key.upper().encode() for key in keys])
    same(r.exists(*keys, "absent"), 200)
    same(r.touch(*keys), 200)
    same(r.delete(*keys[:50]), 50)
    same(r.unlink(*keys), 150)


def scanning(r):
    r.flushall()
    pipe = r.pipeline(transaction=False) if PLAIN else r.pipeline()
    for i in range(5000):
        pipe.set(f"scan:{i}", i)
    pipe.execute()
    r.rpush("scan:list", 1)
    expected = {f"scan:{i}".encode() for i in range(5000)}
    same(set(r.scan_iter(count=100)), expected | {b"scan:list"})
    same(set(r.scan_iter(match="scan:12*", count=500)), {key for key in expected if key.startswith(b"scan:12")})
    same(set(r.scan_iter(_type="list", count=1000)), {b"scan:list"})
    same(r.dbsize(), 5001)
    same(len(r.keys("scan:*")), 5001)
    same(sorted(r.keys("scan:1?")), [f"scan:1{i}".encode() for i in range(10)])
    same(r.randomkey() in expected | {b"scan:list"}, True)
    same(len({r.randomkey() for _ in range(200)}) > 50, True)
    same(r.flushall(), True)
    same([r.dbsize(), r.keys("*"), list(r.scan_iter())], [0, [], []])
    same(r.randomkey(), None)


# Scripts


def scripts(r):
    same(r.eval("return {KEYS[1], ARGV[1], 7}", 1, "k", "v"), [b"k", b"v", 7])
    same(r.eval("return redis.call('set', KEYS[1], ARGV[1])", 1, "scripted", "yes"), b"OK")
    same(r.get("scripted"), b"yes")
    same(r.eval("return 5", 0), 5)
    same(r.eval("return {1, {2, {3, {4}}}}", 0), [1, [2, [3, [4]]]])
    sha = r.script_load("return redis.call('get', KEYS[1])")
    for i in range(50):
        r.set(f"sha:{i}", i)
        same(r.evalsha(sha, 1, f"sha:{i}"), str(i).encode())
    same(r.script_exists(sha, "0" * 40), [True, False])
    refused(lambda: r.evalsha("0" * 40, 1, "k"), "no matching script")
    refused(lambda: r.eval("return redis.call('nope')", 1, "k"), "unknown", "script")
    registered = r.register_script("return ARGV[1] .. redis.call('get', KEYS[1])")
    same(registered(keys=["scripted"], args=["say "]), b"say yes")
    same(r.script_flush(), True)
    same(r.script_exists(sha), [False])
    same(registered(keys=["scripted"], args=["say "]), b"say yes")


def functions(r):
    library = "#!lua name=checks\nredis.register_function('get_it', function(k, a) return redis.call('get', k[1]) end)"
    same(text(r.function_load(library, replace=True)), "checks")
    for i in range(20):
        r.set(f"fn:{i}", i)
        same(r.fcall("get_it", 1, f"fn:{i}"), str(i).encode())
    refused(lambda: r.function_load(library), "already exists")
    same("checks" in str(r.function_list()), True)
    same(r.function_delete("checks"), True)
    refused(lambda: r.fcall("get_it", 1, "fn:1"), "function not found")


# Sizes and bytes


def big_values(r):
    for size in (1 << 20, 20 << 20):
        value = random.Random(size).randbytes(size)
        same(r.set("big", value), True)
        got = r.get("big")
        same((len(got), got == value), (size, True))
        same(r.strlen("big"), size)
    same(r.delete("big"), 1)


def big_and_small_values_together(r):
    big = b"x" * (1 << 20)
    pipe = r.pipeline(transaction=False) if PLAIN else r.pipeline()
    for i in range(10):
        pipe.set(f"big:{i}", big)
        pipe.set(f"small:{i}", i)
        pipe.get(f"big:{i}")
        pipe.get(f"small:{i}")
    same(pipe.execute() == [value for i in range(10) for value in (True, True, big, str(i).encode())], True)
    if PLAIN:
        same([len(value) for value in r.mget(*[f"big:{i}" for i in range(10)])], [1 << 20] * 10)
    same(r.delete(*[f"big:{i}" for i in range(10)]), 10)


def any_bytes(r):
    every = bytes(range(256))
    for key in (every, b"a\r\nb", b"\r\n", b"$5\r\nhello\r\n", b"{}a", b"{a", b"a}{b}", b"{", b"", b"\x00", b"k" * 5000):
        same(r.set(key, every + key), True)
        same(r.get(key), every + key)
        same(r.delete(key), 1)


def unicode(r):
    texts = connect(decode_responses=True)
    for word in ("schöne Grüße", "ключ", "鍵", "🔑 {🔒}", "مفتاح"):
        same(texts.set(word, word), True)
        same(texts.get(word), word)
        same(texts.hset(f"h{word}", word, word), 1)
        same(texts.hgetall(f"h{word}"), {word: word})
    texts.close()


# Errors


def errors(r):
    r.set("string", "x")
    refused(lambda: r.lpush("string", 1), "wrong kind of value", kind=ResponseError)
    refused(lambda: r.incr("string"), "not an integer")
    if PLAIN:  # the cluster client looks the command up before it sends it
        refused(lambda: r.execute_command("NOSUCHCOMMAND", "a"), "unknown command", "nosuchcommand")
    refused(lambda: r.execute_command("GET", "a", "b"), "wrong number of arguments for 'get' command")
    refused(lambda: r.execute_command("SET", "a", "b", "BOGUS"), "syntax error")
    same(r.get("string"), b"x")


def keys_of_two_slots_are_turned_down(r):
    for call in (
        ("SINTERSTORE", "d", "a", "b"),
        ("RENAME", "a", "b"),
        ("MSETNX", "a", 1, "b", 2),
        ("ZUNIONSTORE", "d", 2, "a", "b"),
        ("EVAL", "return 1", 2, "a", "b"),
        ("PFMERGE", "a", "b"),
    ):
        refused(lambda call=call: r.execute_command(*call), "keys in request don't hash to the same slot")
    same(r.ping(), True)


def what_is_not_done_here_is_refused(r):
    one = redis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, single_connection_client=True, socket_timeout=10)
    same(one.blpop("a", timeout=0.01), None)
    same(one.xread({"a": "$"}, block=10) or None, None)
    same(one.wait(0, 10), 0)
    for call in (("SHUTDOWN",), ("REPLICAOF", "NO", "ONE"), ("CLUSTER", "RESET"), ("SWAPDB", 0, 1)):
        refused(lambda call=call: one.execute_command(*call), kind=ResponseError)
        same(one.ping(), True)
    one.close()


# Subscriptions


def heard(p):
    """The next message that is no confirmation."""
    deadline = time.time() + 20
    while time.time() < deadline:
        message = p.get_message(ignore_subscribe_messages=True, timeout=1)
        if message:
            return message["type"], message["channel"], message["data"]
    raise AssertionError("no message came")


def subscriptions(r):
    p, q = r.pubsub(), r.pubsub()
    p.subscribe("news", "more")
    q.psubscribe("n?ws")
    confirmed = [p.get_message(timeout=20) for _ in range(2)] + [q.get_message(timeout=20)]
    same([(c["type"], c["channel"], c["data"]) for c in confirmed], [
        ("subscribe", b"news", 1), ("subscribe", b"more", 2), ("psubscribe", b"n?ws", 1)])
    same(r.publish("news", "hello"), 2)
    same(heard(p), ("message", b"news", b"hello"))
    same(heard(q), ("pmessage", b"news", b"hello"))
    for number in range(300):
        r.publish("more", number)
    same([heard(p)[2] for _ in range(300)], [str(number).encode() for number in range(300)])
    same(r.publish("other", "x"), 0)
    big = random.randbytes(3 << 20)
    same(r.publish("news", big), 2)
    same([heard(p)[2] == big, heard(q)[2] == big], [True, True])
    p.unsubscribe("news")
    same(p.get_message(timeout=20)["data"], 1)
    same(r.publish("news", "again"), 1)
    same(heard(q)[2], b"again")
    p.close()
    q.close()


def sharded_subscriptions(r):
    p = r.pubsub()
    p.ssubscribe("news")
    wait = (lambda: p.get_sharded_message(timeout=20)) if not PLAIN else (lambda: p.get_message(timeout=20))
    same(wait()["type"], "ssubscribe")
    same(r.execute_command("SPUBLISH", "news", "hello"), 1)
    same(wait()["data"], b"hello")
    p.sunsubscribe("news")
    same(wait()["data"], 0)
    p.close()


def asyncio_subscriptions(_):
    async def listener(number):
        client = redis.asyncio.Redis(host=HOST, port=PORT, protocol=PROTOCOL)
        async with client.pubsub() as p:
            await p.subscribe("talk")
            await p.get_message(timeout=20)
            ready.append(number)
            got = []
            async for message in p.listen():
                if message["type"] == "message":
                    got.append(int(message["data"]))
                if got and got[-1] == 199:
                    break
        await client.aclose()
        return got

    async def talk():
        listeners = [asyncio.create_task(listener(number)) for number in range(20)]
        while len(ready) < 20:
            await asyncio.sleep(0.01)
        client = redis.asyncio.Redis(host=HOST, port=PORT, protocol=PROTOCOL)
        counts = [await client.publish("talk", number) for number in range(200)]
        await client.aclose()
        return counts, await asyncio.gather(*listeners)

    ready = []
    counts, got = asyncio.run(asyncio.wait_for(talk(), 60))
    same(set(counts[:-1]), {20})
    same(got, [list(range(200))] * 20)


# The connection


def connection_state(_):
    one = redis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, single_connection_client=True, socket_timeout=10)
    other = redis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, single_connection_client=True, socket_timeout=10)
    same(one.ping(), True)
    same(one.echo("hello"), b"hello")
    same(one.client_getname(), None)
    same(one.client_setname("checks"), True)
    same(text(one.client_getname()), "checks")
    same(other.client_getname(), None)
    same((one.client_id() != other.client_id(), one.client_id() == one.client_id()), (True, True))
    refused(lambda: one.client_setname("a b"), "cannot contain spaces")
    same(one.client_info()["name"], "checks")
    fields = {word.split("=")[0] for word in raw(b"CLIENT INFO\r\n").split("\r\n")[1].split()}
    same(CLIENT_FIELDS - fields, set())
    same("checks" in {client["name"] for client in one.client_list()}, True)
    same(abs(one.time()[0] - time.time()) < 5, True)
    same(one.select(0), True)
    if GATEWAY:
        refused(lambda: one.select(1), kind=ResponseError)
    same(text(one.execute_command("RESET")), "RESET")
    one.close()
    other.close()


def server_facts(r):
    info = r.info()
    same([field in info for field in ("redis_version", "used_memory", "db0", "uptime_in_seconds")], [True] * 4)
    same(sorted(r.info("keyspace")), ["db0"])
    same(r.command_count() > 200, True)
    same("get" in {text(name) for name in r.command()}, True)
    same(len(r.config_get("maxmemory*")) > 0, True)
    if PLAIN:
        same(text(r.role()[0]), "master")
        same(r.publish("channel", "nobody listens"), 0)


def one_node_with_every_slot(r):
    slots = r.execute_command("CLUSTER", "SLOTS")
    slots = list(slots.values())[0] if isinstance(slots, dict) and not PLAIN and len(slots) == 1 else slots
    same("16383" in str(slots), True)
    one = redis.Redis(host=HOST, port=PORT, protocol=PROTOCOL, single_connection_client=True)
    same(one.execute_command("CLUSTER", "KEYSLOT", "foo"), 12182)
    same("cluster_state:ok" in raw(b"CLUSTER INFO\r\n"), True)
    same("0-16383" in raw(b"CLUSTER NODES\r\n"), True)
    same(len(one.execute_command("CLUSTER", "MYID")), 40)
    answer = raw(b"CLUSTER SLOTS\r\n")
    same(answer.startswith("*1\r\n*3\r\n:0\r\n:16383\r\n"), True)
    if GATEWAY:
        same((HOST in answer, f":{PORT}\r\n" in answer), (True, True))
    one.close()


def raw(request):
    with socket.create_connection((HOST, PORT)) as connection:
        connection.sendall(request + b"QUIT\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode("latin-1")


def many_clients_at_once(_):
    wrong = []

    def one_client(number):
        try:
            r = connect()
            for turn in range(60):
                pipe = r.pipeline(transaction=False) if PLAIN else r.pipeline()
                for i in range(10):
                    pipe.set(f"mc:{number}:{i}", f"{number} {turn} {i}" + "." * (i * 100))
                    pipe.get(f"mc:{number}:{i}")
                replies = pipe.execute()
                expected = [value for i in range(10) for value in (True, (f"{number} {turn} {i}" + "." * (i * 100)).encode())]
                same(replies, expected)
            r.close()
        except (AssertionError, RedisError, OSError) as error:
            wrong.append(f"client {number}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=one_client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(wrong, [])


def main():
    checks = Checks(f"redis-py {redis.__version__} {MODE} RESP{PROTOCOL}")
    r = connect()
    r.flushall()
    every = [strings, hashes, lists, sets, sorted_sets, streams, counters_and_bits, places, expiry, keys_of_any_type]
    every += [pipeline_over_many_slots, pipeline_of_mixed_replies_keeps_its_order]
    every += [transactions] if PLAIN else []
    every += [client_side_caching] if PLAIN and PROTOCOL == 3 else []
    every += [deep_pipeline, split_commands, split_in_a_pipeline] if PLAIN else [split_by_the_library]
    every += [scripts, functions, big_values, big_and_small_values_together, any_bytes, unicode, errors]
    every += [connection_state] if GATEWAY or PLAIN else []
    every += [keys_of_two_slots_are_turned_down] if GATEWAY and PLAIN else []
    every += [subscriptions, sharded_subscriptions, asyncio_subscriptions]
    every += [what_is_not_done_here_is_refused] if GATEWAY else []
    every += [server_facts, many_clients_at_once]
    every += [one_node_with_every_slot] if GATEWAY or not PLAIN else []
    every += [scanning]
    for check in every:
        checks.run(check.__name__.replace("_", " "), check, r)
    checks.finish()


main()
