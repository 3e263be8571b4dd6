'use strict';
const querystring = require('node:querystring');

/**
 * The part of `request(params, callback)` that matrix-bot-sdk uses (its lib/http.js); `params.timeout` is in milliseconds.
 * Redirects are refused: a homeserver that redirects could be made to send the token elsewhere.
 */
module.exports = function request(params, callback) {
  const query = params.qs ? querystring.stringify(params.qs) : '';
  const url = query === '' ? params.uri : `${params.uri}?${query}`;
  fetch(url, {
    method: params.method,
    headers: params.headers,
    body: params.body,
    signal: AbortSignal.timeout(params.timeout ?? 60_000),
    redirect: 'error',
  })
    .then(async (answer) => {
      const bytes = Buffer.from(await answer.arrayBuffer());
      const body = params.encoding === null ? bytes : bytes.toString();
      return { statusCode: answer.status, headers: Object.fromEntries(answer.headers), body };
    })
    .then(
      (response) => callback(null, response, response.body),
      (error) => callback(error),
    );
};
