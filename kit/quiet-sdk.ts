import { logger } from 'matrix-js-sdk/lib/logger.js';

/** A logger of the SDK that says nothing. */
export const silent = {
  log: nothing,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  getChild: () => silent,
};

function nothing(): void {
  // nothing
}

// The SDK tells its whole life on the console. Imported before the SDK itself, whose parts keep what they find here.
// eslint-disable-next-line @typescript-eslint/no-deprecated -- there is no other way to quiet it
Object.assign(logger, silent);
