"""django-redis: Django's cache and sessions. `set_many` is one MULTI, so the prefix of the keys is a hash tag.

    django_redis_app.py HOST PORT
"""

import sys

import django
from django.conf import settings

host, port = sys.argv[1], sys.argv[2]
settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{host}:{port}/0",
            "KEY_PREFIX": "{django}",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.sessions"],
    SECRET_KEY="not a secret",
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache

cache.clear()
cache.set("a", {"some": ["value", 1]}, timeout=100)
assert cache.get("a") == {"some": ["value", 1]}
assert 90 <= cache.ttl("a") <= 100
assert cache.add("a", 1) is False and cache.add("b", 1) is True
assert cache.incr("b", 4) == 5 and cache.decr("b") == 4
cache.set_many({f"key-{n}": n for n in range(100)}, timeout=60)
assert cache.get_many(f"key-{n}" for n in range(100)) == {f"key-{n}": n for n in range(100)}
assert cache.delete_many([f"key-{n}" for n in range(50)]) == 50
assert len(list(cache.iter_keys("key-*"))) == 50
assert cache.delete_pattern("key-*") == 50
assert cache.get_or_set("c", lambda: "made") == "made"
assert cache.touch("c", 500) and cache.persist("c") and cache.ttl("c") is None
assert cache.has_key("c") and cache.delete("c") and not cache.has_key("c")
with cache.lock("only-one", timeout=10):
    assert not cache.lock("only-one", timeout=10, blocking_timeout=0.1).acquire()
store = SessionStore()
store["user"] = "somebody"
store.save()
again = SessionStore(session_key=store.session_key)
assert again["user"] == "somebody"
again.flush()
assert "user" not in SessionStore(session_key=store.session_key)
print("django-redis: values, many values, counters, patterns, locks, sessions")
