"""A plugin for redis-py's own tests: has them use the plain client although the server says that it is a cluster."""

import redis


def pytest_configure(config):
    told = redis.Redis.info

    def info(self, *sections, **options):
        answer = told(self, *sections, **options)
        if "cluster_enabled" in answer:
            answer["cluster_enabled"] = 0
        return answer

    redis.Redis.info = info
