// Counts named checks and tells what failed.

import { isDeepStrictEqual, inspect } from 'node:util';

export class Checks {
  constructor(title) {
    this.title = title;
    this.passed = 0;
    this.failed = 0;
  }

  // Runs one check; a failing one does not stop the rest.
  async run(name, check) {
    try {
      await withLimit(check(), 30_000);
      this.passed += 1;
    } catch (error) {
      this.failed += 1;
      const frames = (error.stack ?? '').match(/[\w-]+\.mjs:\d+/g) ?? [];
      const where = frames.find((frame) => !frame.startsWith('checks.mjs')) ?? '';
      console.log(`${this.title}: ${name} FAILED: ${error.message} ${where}`.slice(0, 600));
    }
  }

  // What everything else needs: without it there is nothing to check.
  async begin(check) {
    await this.run('clean start', check);
    if (this.failed) this.finish();
  }

  finish() {
    console.log(`${this.title}: ${this.passed} passed, ${this.failed} failed`);
    process.exit(this.failed || !this.passed ? 1 : 0);
  }
}

export function same(got, expected) {
  if (!isDeepStrictEqual(plain(got), plain(expected))) {
    throw new Error(`got ${short(got)}, expected ${short(expected)}`);
  }
}

// The call must fail, and its message must hold every word (in any case).
export async function refused(call, ...words) {
  let got;
  try {
    got = await call();
  } catch (error) {
    const message = String(error.message).toLowerCase();
    const missing = words.filter((word) => !message.includes(word.toLowerCase()));
    if (missing.length) throw new Error(`the error says "${error.message}", without ${missing}`);
    return;
  }
  throw new Error(`got ${short(got)}, an error about ${words} was expected`);
}

export const numbers = (count) => Array.from({ length: count }, (_, i) => i);

// Objects without prototype and Maps, which clients like to return, count as plain objects.
function plain(value) {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

function short(value) {
  const text = inspect(value, { depth: 4, maxArrayLength: 20, maxStringLength: 200 }).replace(/\s+/g, ' ');
  return text.length <= 200 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}

function withLimit(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
