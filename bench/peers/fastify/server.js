// Fastify and a node-postgres pool, a process for each CPU: what a Node.js team would write.
//
// A statement with a name is prepared once a connection. Where the database is stands in libpq's environment
// variables.
'use strict'

const cluster = require('node:cluster')
const { timingSafeEqual } = require('node:crypto')

const PORT = Number(process.argv[2])
const WORKERS = Number(process.argv[3])
const API_KEY = Buffer.from(process.env.M3W_API_KEY)

const UPSERT_SESSION = `
INSERT INTO sessions (
    session_id, timestamp, session_start_date_iso, session_duration_ms, startup_time_ms, rebuffer_time_ms,
    rebuffer_count, play_time_ms, rebuffer_ratio, total_dropped_frames, total_seek_count, total_seek_time_ms,
    mean_video_format_bitrate, error_count, device_model, os_version, sdk_version, connection_type, event_at
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, m3w_event_at($2, now())
)
ON CONFLICT (session_id) DO UPDATE SET
    timestamp = EXCLUDED.timestamp,
    session_start_date_iso = EXCLUDED.session_start_date_iso,
    session_duration_ms = EXCLUDED.session_duration_ms,
    startup_time_ms = EXCLUDED.startup_time_ms,
    rebuffer_time_ms = EXCLUDED.rebuffer_time_ms,
    rebuffer_count = EXCLUDED.rebuffer_count,
    play_time_ms = EXCLUDED.play_time_ms,
    rebuffer_ratio = EXCLUDED.rebuffer_ratio,
    total_dropped_frames = EXCLUDED.total_dropped_frames,
    total_seek_count = EXCLUDED.total_seek_count,
    total_seek_time_ms = EXCLUDED.total_seek_time_ms,
    mean_video_format_bitrate = EXCLUDED.mean_video_format_bitrate,
    error_count = EXCLUDED.error_count,
    device_model = EXCLUDED.device_model,
    os_version = EXCLUDED.os_version,
    sdk_version = EXCLUDED.sdk_version,
    connection_type = EXCLUDED.connection_type,
    received_at = EXCLUDED.received_at,
    event_at = EXCLUDED.event_at
WHERE sessions.timestamp <= EXCLUDED.timestamp`

const INSERT_ENTRIES = `
INSERT INTO session_timeline (
    session_id, timestamp_ms, elapsed_ms, playback_state, current_bitrate, network_type, total_dropped_frames,
    buffered_duration_ms, rebuffer_count, rebuffer_time_ms
)
SELECT $1, * FROM unnest(
    $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::integer[],
    $10::bigint[]
)
ON CONFLICT DO NOTHING`

const count = (maximum, type = ['integer', 'null']) => ({ type, minimum: 0, maximum })
const text = { type: ['string', 'null'], maxLength: 256 }
const LARGE = Number.MAX_SAFE_INTEGER
const SMALL = 2 ** 31 - 1
const instant = { type: 'integer', minimum: 1, maximum: 253402300799999 }

const entry = {
  type: 'object',
  required: [
    'timestampMs', 'elapsedMs', 'playbackState', 'totalDroppedFrames', 'rebufferCount', 'rebufferTimeMs'
  ],
  properties: {
    timestampMs: instant,
    elapsedMs: count(LARGE, 'integer'),
    playbackState: { type: 'string', enum: ['IDLE', 'BUFFERING', 'PLAYING', 'PAUSED', 'ENDED'] },
    currentBitrate: count(LARGE),
    networkType: text,
    totalDroppedFrames: count(LARGE, 'integer'),
    bufferedDurationMs: count(LARGE),
    rebufferCount: count(SMALL, 'integer'),
    rebufferTimeMs: count(LARGE, 'integer')
  }
}

const schema = {
  body: {
    type: 'object',
    required: ['sessionId', 'timestamp', 'sessionStartDateIso', 'sessionDurationMs'],
    properties: {
      sessionId: { type: 'string', minLength: 1, maxLength: 128 },
      timestamp: instant,
      sessionStartDateIso: { type: 'string', minLength: 1, maxLength: 64 },
      sessionDurationMs: { type: 'integer', minimum: 1, maximum: LARGE },
      startupTimeMs: count(LARGE),
      rebufferTimeMs: count(LARGE),
      rebufferCount: count(SMALL),
      playTimeMs: count(LARGE),
      rebufferRatio: { type: ['number', 'null'], minimum: 0, maximum: 1 },
      totalDroppedFrames: count(LARGE),
      totalSeekCount: count(SMALL),
      totalSeekTimeMs: count(LARGE),
      meanVideoFormatBitrate: { type: ['integer', 'null'], minimum: -1, maximum: LARGE },
      errorCount: count(SMALL),
      deviceModel: text,
      osVersion: count(SMALL),
      sdkVersion: text,
      connectionType: text,
      timelineEvents: { type: ['array', 'null'], maxItems: 500, items: entry }
    }
  },
  response: {
    200: { type: 'object', properties: { status: { type: 'string' }, sessionId: { type: 'string' } } }
  }
}

function upsert (session) {
  const bitrate = session.meanVideoFormatBitrate
  return {
    name: 'upsert-session',
    text: UPSERT_SESSION,
    values: [
      session.sessionId, session.timestamp, session.sessionStartDateIso, session.sessionDurationMs,
      session.startupTimeMs, session.rebufferTimeMs, session.rebufferCount, session.playTimeMs,
      session.rebufferRatio, session.totalDroppedFrames, session.totalSeekCount, session.totalSeekTimeMs,
      bitrate === -1 ? null : bitrate, session.errorCount, session.deviceModel, session.osVersion,
      session.sdkVersion, session.connectionType
    ]
  }
}

function insertEntries (session) {
  const column = (name) => session.timelineEvents.map((each) => each[name])
  return {
    name: 'insert-entries',
    text: INSERT_ENTRIES,
    values: [
      session.sessionId, column('timestampMs'), column('elapsedMs'), column('playbackState'),
      column('currentBitrate'), column('networkType'), column('totalDroppedFrames'),
      column('bufferedDurationMs'), column('rebufferCount'), column('rebufferTimeMs')
    ]
  }
}

async function store (pool, session) {
  if (!session.timelineEvents?.length) {
    await pool.query(upsert(session))
    return
  }
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(upsert(session))
    await client.query(insertEntries(session))
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

async function serve () {
  const { Pool } = require('pg')
  const pool = new Pool({ max: 10 })
  // Fastify would turn "45000" into 45000; the contract refuses it.
  const app = require('fastify')({ ajv: { customOptions: { coerceTypes: false } } })

  app.get('/health', async () => ({ status: 'healthy' }))

  app.post('/v1/sessions', {
    schema,
    onRequest: async (request, reply) => {
      const key = Buffer.from(request.headers['x-api-key'] ?? '')
      if (key.length !== API_KEY.length || !timingSafeEqual(key, API_KEY)) {
        return reply.code(401).send({ message: 'Invalid or missing API Key' })
      }
    }
  }, async (request) => {
    await store(pool, request.body)
    return { status: 'success', sessionId: request.body.sessionId }
  })

  process.once('SIGTERM', async () => {
    await app.close()
    await pool.end()
    process.exit(0)
  })
  await app.listen({ host: '127.0.0.1', port: PORT, backlog: 2048 })
}

if (cluster.isPrimary) {
  for (let i = 0; i < WORKERS; i++) cluster.fork()
  process.once('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM')
  })
} else {
  serve()
}
