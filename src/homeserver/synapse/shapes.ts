import { z } from 'zod';

/**
 * The parts of Synapse's answers that Steward reads. Source: Admin API, docs/admin_api/ of Synapse 1.163.
 * Times are milliseconds since the epoch unless said otherwise.
 */

const flag = z.preprocess((value) => value === 1 || value === true, z.boolean());
const nullableText = z
  .string()
  .nullish()
  .transform((value) => value ?? null);

/** A row of GET /_synapse/admin/v3/users. */
export const userRow = z.object({
  name: z.string(),
  displayname: nullableText,
  admin: flag,
  deactivated: flag,
  locked: flag,
  is_guest: flag,
  user_type: nullableText,
  creation_ts: z.number(),
  last_seen_ts: z
    .number()
    .nullish()
    .transform((value) => value ?? null),
});
export type UserRow = z.output<typeof userRow>;

/** Compiled, because an export checks a hundred thousand of them. */
export const userRows = z.compile(z.array(userRow));

/** What stands around the rows. */
export const userPageEnd = z.object({
  total: z.number(),
  next_token: z
    .union([z.string(), z.number()])
    .nullish()
    .transform((value) => (value === null || value === undefined ? null : String(value))),
});

export const userPage = userPageEnd.extend({ users: userRows });
export type UserPage = z.output<typeof userPage>;

/** GET /_synapse/admin/v2/users/{user_id}; `creation_ts` is in seconds here (synapse#15459). */
export const userDetails = z.object({
  name: z.string(),
  displayname: nullableText,
  avatar_url: nullableText,
  threepids: z.array(z.object({ medium: z.string(), address: z.string() })).default([]),
  external_ids: z.array(z.object({ auth_provider: z.string(), external_id: z.string() })).default([]),
  admin: flag,
  deactivated: flag,
  erased: flag,
  locked: flag,
  suspended: flag,
  shadow_banned: flag,
  is_guest: flag,
  creation_ts: z.number(),
  last_seen_ts: z
    .number()
    .nullish()
    .transform((value) => value ?? null),
  appservice_id: nullableText,
  user_type: nullableText,
});
export type UserDetails = z.output<typeof userDetails>;

export const device = z.object({
  device_id: z.string(),
  display_name: nullableText,
  last_seen_ts: z
    .number()
    .nullish()
    .transform((value) => value ?? null),
});

export const roomDetails = z.object({
  room_id: z.string(),
  name: nullableText,
  canonical_alias: nullableText,
  joined_members: z.number(),
  joined_local_members: z.number(),
  encryption: nullableText,
  creator: nullableText,
  version: nullableText,
});
export type RoomDetails = z.output<typeof roomDetails>;

export const mediaInfo = z.object({
  media_info: z.object({
    media_id: z.string(),
    media_type: nullableText,
    media_length: z
      .number()
      .nullish()
      .transform((value) => value ?? null),
    upload_name: nullableText,
    created_ts: z.number(),
    quarantined_by: nullableText,
  }),
});

export const fetchedEvent = z.object({
  event: z.object({
    event_id: z.string().optional(),
    room_id: z.string(),
    sender: z.string(),
    type: z.string(),
    origin_server_ts: z.number(),
  }),
});

/** GET /_synapse/admin/v1/user/redact_status/{redact_id} */
export const redactStatus = z.object({
  status: z.enum(['scheduled', 'active', 'complete', 'failed', 'cancelled']),
  /** Why a message could not be redacted, by event id. */
  failed_redactions: z.record(z.string(), z.string()).default({}),
  error: nullableText,
});
export type RedactStatus = z.output<typeof redactStatus>;
