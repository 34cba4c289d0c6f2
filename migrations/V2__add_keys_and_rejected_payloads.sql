-- Stored API keys, which key each session came by, and the payloads that were turned away.

ALTER TABLE sessions ADD COLUMN received_via text COLLATE "C";

COMMENT ON COLUMN sessions.received_via IS
    'Name of the API key that the stored summary came with; null where it is not known.';

CREATE TABLE api_keys (
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    name text COLLATE "C" PRIMARY KEY,
    prefix text COLLATE "C" NOT NULL,
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    routes text[] NOT NULL
);

COMMENT ON TABLE api_keys IS
    'Keys made by `m3w keys add`. A revoked one stays, so that its name, which sessions bear, is not given twice.';
COMMENT ON COLUMN api_keys.prefix IS 'The first characters of the key: enough to recognise it, not to guess it.';
COMMENT ON COLUMN api_keys.sha256 IS
    'SHA-256 of the key. The key is 256 random bits, so there is nothing that a slow hash would protect.';
COMMENT ON COLUMN api_keys.routes IS 'What the key may be used for: sessions, batch.';

CREATE TABLE rejected_payloads (
    received_at timestamptz NOT NULL DEFAULT now(),
    payload_bytes bigint NOT NULL,
    batch_index integer,
    id text COLLATE "C" PRIMARY KEY DEFAULT gen_random_uuid()::text,
    received_via text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    media_type text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    message text NOT NULL,
    payload bytea NOT NULL
);

-- Rows are never updated, so a B-tree costs no HOT update here.
CREATE INDEX rejected_payloads_received_at_idx ON rejected_payloads (received_at ASC);

COMMENT ON TABLE rejected_payloads IS
    'Payloads that came with a right key and were answered 400, kept to be replayed: clients delete theirs.';
COMMENT ON COLUMN rejected_payloads.payload_bytes IS
    'Length as it came; more than the length of payload where that was cut.';
COMMENT ON COLUMN rejected_payloads.batch_index IS
    'Place in its batch; null where the payload is a whole body.';
COMMENT ON COLUMN rejected_payloads.received_via IS 'Name of the API key.';
COMMENT ON COLUMN rejected_payloads.code IS 'Of the answer, INVALID_SCHEMA.';
COMMENT ON COLUMN rejected_payloads.reason IS
    'What to count by: the bad fields without indexes (other: not of the SDK), unreadable or refused by the database.';
COMMENT ON COLUMN rejected_payloads.message IS 'Of the answer. It can quote what the client sent.';
COMMENT ON COLUMN rejected_payloads.payload IS
    'The body after decompression; of a batch that could be read, the one summary.';

CREATE VIEW rejections AS
    SELECT received_at, received_via, route, code, reason, payload_bytes FROM rejected_payloads;

COMMENT ON VIEW rejections IS
    'Payloads that were turned away, without anything that a client sent: what dashboards count.';
