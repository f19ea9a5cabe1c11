"""Rate limiters in Lua: those of the library `limits`, and one of our own that several threads press at once.

    rate_limiter.py HOST PORT
"""

import sys
import threading

import redis
from limits import RateLimitItemPerMinute, storage, strategies

host, port = sys.argv[1], int(sys.argv[2])
plain = storage.storage_from_string(f"redis://{host}:{port}")
# The third one has two keys in a script: the library's storage for clusters gives them one hash tag.
cluster = storage.storage_from_string(f"redis+cluster://{host}:{port}")
for strategy, backend in (
    (strategies.FixedWindowRateLimiter, plain),
    (strategies.MovingWindowRateLimiter, plain),
    (strategies.SlidingWindowCounterRateLimiter, cluster),
):
    limiter, limit = strategy(backend), RateLimitItemPerMinute(7)
    allowed = [limiter.hit(limit, strategy.__name__, "somebody") for _ in range(20)]
    assert sum(allowed) == 7, f"{strategy.__name__} allowed {sum(allowed)} of 7"
    assert limiter.hit(limit, strategy.__name__, "somebody else")
    assert limiter.get_window_stats(limit, strategy.__name__, "somebody").remaining == 0
    limiter.clear(limit, strategy.__name__, "somebody")

TOKENS = """
local taken = redis.call('incr', KEYS[1])
if taken == 1 then redis.call('pexpire', KEYS[1], ARGV[2]) end
return {taken <= tonumber(ARGV[1]) and 1 or 0, redis.call('pttl', KEYS[1])}
"""
client = redis.Redis(host=host, port=port)
for user in range(10):
    client.delete(f"tokens:{user}")
take = client.register_script(TOKENS)
taken, guard = {user: 0 for user in range(10)}, threading.Lock()


def press():
    for user in range(10):
        for _ in range(20):
            allowed, left = take(keys=[f"tokens:{user}"], args=[30, 60_000])
            assert 0 < left <= 60_000
            with guard:
                taken[user] += allowed


threads = [threading.Thread(target=press) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert all(count == 30 for count in taken.values()), taken
print("rate limiters: three of `limits`, and one that four threads press; none lets one too many through")
