"""Flask-Session: sessions of browsers, kept and forgotten.

    flask_session_app.py HOST PORT
"""

import sys

import redis
from flask import Flask, session
from flask_session import Session

app = Flask(__name__)
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis(host=sys.argv[1], port=int(sys.argv[2])))
Session(app)


@app.route("/visit")
def visit():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.route("/leave")
def leave():
    session.clear()
    return "bye"


browsers = [app.test_client() for _ in range(20)]
for visit_number in range(1, 6):
    for browser in browsers:
        assert browser.get("/visit").text == str(visit_number)
browsers[0].get("/leave")
assert browsers[0].get("/visit").text == "1" and browsers[1].get("/visit").text == "6"
print("Flask-Session: 20 sessions, each with its own count")
