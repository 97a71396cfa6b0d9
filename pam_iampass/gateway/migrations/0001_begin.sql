-- What one gateway needs. Columns named `mac` hold a MAC over the whole row (keys.py): rows without a valid one do not
-- count. Values of type bytea that are not digests are encrypted.

CREATE TABLE fleet (                    -- one row
    id uuid PRIMARY KEY,                -- of the installation
    made_at timestamptz NOT NULL,
    restores integer NOT NULL,          -- how often a restored database was confirmed
    old_copy boolean,                   -- true: a gateway has found that it is one; null otherwise
    people bytea NOT NULL,              -- a digest of the names in `person` and `agent`: a row deleted there is missed
    mac bytea NOT NULL
);

CREATE TABLE host (
    id text PRIMARY KEY,                -- what the host calls itself in its requests
    name text NOT NULL UNIQUE,
    group_name text NOT NULL,
    secret bytea NOT NULL,
    machine text,                       -- a digest of its machine-id; none until it has said one
    status text NOT NULL CHECK (status IN ('waiting', 'active', 'stopped', 'suspended')),
    joined_at timestamptz NOT NULL,
    invite text NOT NULL,               -- with which it has joined
    slowed_until timestamptz,           -- the brake
    admitted boolean NOT NULL,          -- whether an administrator has said that it may ask
    addresses text[] NOT NULL,          -- of this host alone, as an administrator has set them
    note text,                          -- an administrator's, for auditors and administrators
    mac bytea NOT NULL
);

CREATE TABLE seen (                     -- what is shown of a host's last call; it makes nobody's answer
    host text PRIMARY KEY REFERENCES host ON UPDATE CASCADE ON DELETE CASCADE,
    at timestamptz,                     -- some minutes late; none before its first call
    version text,                       -- of pam-iampass, as the host says
    address text                        -- from which it has called
);

CREATE TABLE invite (
    id text PRIMARY KEY,
    secret bytea NOT NULL,
    name text,                          -- the only host that may use it
    network cidr,                       -- from where it may be used
    group_name text NOT NULL,
    uses_left integer NOT NULL,
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    mac bytea NOT NULL
);

CREATE TABLE person (
    name text PRIMARY KEY,
    token bytea NOT NULL,               -- the person's id at IAMPASS
    groups text[] NOT NULL,
    display_name bytea,
    phone_number bytea,
    source text NOT NULL CHECK (source IN ('local', 'ldap')),
    status text NOT NULL CHECK (status IN ('active', 'leaving', 'removing')),
    changed_at timestamptz NOT NULL,
    mac bytea NOT NULL,
    directory_id text,                  -- tells the person from a later one of the same name
    phone_lost_at timestamptz,          -- when a phone was last reported lost; none if none ever was
    phone_to_disable boolean NOT NULL,  -- whether IAMPASS has not disabled that phone yet
    phone_told_at timestamptz,          -- when IAMPASS was told so last; none: no gateway tells it
    invites boolean NOT NULL,           -- whether a login without a phone may send a registration link
    had_phone boolean NOT NULL          -- whether IAMPASS was ever seen to have a phone
);
CREATE INDEX person_to_disable ON person (phone_told_at) WHERE phone_to_disable;

CREATE TABLE agent (                    -- accounts that act for a person; no person has such a name
    name text PRIMARY KEY,
    person text NOT NULL,               -- whose phone approves
    owner text NOT NULL,                -- tells this person from a later one of the same name
    groups text[] NOT NULL,
    made_at timestamptz NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX agent_of_person ON agent (person);

CREATE TABLE mailed (                   -- to whom a registration link was mailed; it makes nobody's answer
    person text PRIMARY KEY REFERENCES person ON DELETE CASCADE,
    began_at timestamptz NOT NULL,      -- from when on sendmail may have had the mail
    taken_at timestamptz                -- when sendmail had said that it takes it; none: it is not known whether it has
);

CREATE TABLE recovery (                 -- the recovery codes of a person
    person text PRIMARY KEY REFERENCES person ON DELETE CASCADE,
    digests bytea[] NOT NULL,           -- with the key file
    used_at timestamptz[] NOT NULL,     -- of each code; NULL: not yet
    made_at timestamptz NOT NULL,
    ends_at timestamptz,                -- until when they count; none: until they are used
    mac bytea NOT NULL
);

CREATE TABLE bypass (                   -- lets a person in without the phone
    id uuid PRIMARY KEY,
    person text NOT NULL REFERENCES person ON DELETE CASCADE,
    services text[] NOT NULL,           -- none: all
    hosts text[] NOT NULL,              -- and host_groups; none: all hosts
    host_groups text[] NOT NULL,
    made_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    made_by text NOT NULL,
    reason text NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX bypass_of_person ON bypass (person);

-- Who has signed in. `owner` tells the person from a later one of the same name, and `restores` is what the fleet's was
-- when the row was made, or the person last approved the passkey on the phone.

CREATE TABLE link (                     -- registers a passkey, once
    person text PRIMARY KEY REFERENCES person ON DELETE CASCADE,
    digest bytea NOT NULL UNIQUE,       -- of its token
    owner text NOT NULL,
    roles text[] NOT NULL,              -- that count with its passkey: of the person when root made it; else none
    replaces boolean NOT NULL,          -- whether the passkeys end that the person has
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    restores integer NOT NULL,
    asked integer NOT NULL,             -- how often IAMPASS was asked for it whether there is a phone
    mac bytea NOT NULL
);

CREATE TABLE passkey (
    id text PRIMARY KEY,                -- of the credential, as base64url
    person text NOT NULL REFERENCES person ON DELETE CASCADE,
    owner text NOT NULL,
    public_key text NOT NULL,           -- COSE, as base64url
    label text NOT NULL,
    roles text[] NOT NULL,              -- of the link that has registered it
    made_at timestamptz NOT NULL,
    restores integer NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX passkey_of_person ON passkey (person);

CREATE TABLE sign_in (
    digest bytea PRIMARY KEY,           -- of its token
    id uuid NOT NULL UNIQUE,
    person text NOT NULL REFERENCES person ON DELETE CASCADE,
    passkey text NOT NULL REFERENCES passkey ON DELETE CASCADE,
    began_at timestamptz NOT NULL,
    active_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    remote text NOT NULL,               -- where it came from, and the browser, as the portal has said
    agent text NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX sign_in_of_person ON sign_in (person);
CREATE INDEX sign_in_of_passkey ON sign_in (passkey);

CREATE TABLE verified (                 -- a caller whom somebody who has signed in had asked, and who approved
    sign_in uuid NOT NULL REFERENCES sign_in (id) ON DELETE CASCADE,
    person text NOT NULL REFERENCES person ON DELETE CASCADE,
    at timestamptz NOT NULL,
    mac bytea NOT NULL,
    PRIMARY KEY (sign_in, person)
);
CREATE INDEX verified_person ON verified (person);

CREATE TABLE step (                     -- what IAMPASS is still to be told after an act, apart from lost phones
    id uuid PRIMARY KEY,
    ended_session uuid NOT NULL,        -- to end this session
    tried_at timestamptz NOT NULL,      -- when it was told last
    mac bytea NOT NULL
);

CREATE TABLE session (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    person text NOT NULL,
    request_id text,                    -- of the host; none from a client that sends none
    parameters bytea NOT NULL,          -- digest of all that the host has asked for
    methods text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'starting', 'open', 'ended', 'not_started')),
    status text,                        -- the last one that IAMPASS has said
    reason text,                        -- why there is no session
    nothing_sent boolean NOT NULL,      -- connecting to IAMPASS has failed: it knows nothing of it
    approved boolean NOT NULL,          -- the person has approved, whatever came later
    began_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,      -- until when the login waits; once IAMPASS is called, until when a phone may ring
    retry_after integer,                -- in how many seconds a start would be made that the limits have refused
    waits_until timestamptz NOT NULL,   -- until when the login waits for an answer
    expires_at timestamptz NOT NULL,
    decided_at timestamptz,             -- when the person has answered
    gateway uuid NOT NULL,              -- that has started it
    version bigint NOT NULL,            -- counts changes of the status
    upstream bytea,                     -- the session at IAMPASS
    details jsonb NOT NULL,             -- service, address and so on, as the host has said them
    mac bytea NOT NULL,
    host_name text NOT NULL,            -- what limits count: it stays the same when a host leaves and joins again
    parent uuid,                        -- the session that covers this one, which has none at IAMPASS itself
    UNIQUE (host, request_id)
);
CREATE INDEX session_of_person ON session (person, began_at);
CREATE INDEX session_of_host ON session (host_name, began_at);
CREATE INDEX session_unapproved ON session (host_name, began_at)
    WHERE parent IS NULL AND state <> 'not_started' AND NOT approved;
CREATE INDEX session_under_way ON session (state, status) WHERE state IN ('queued', 'starting', 'open');
CREATE INDEX session_expired ON session (expires_at);
CREATE INDEX session_covered ON session (parent) WHERE parent IS NOT NULL;

CREATE TABLE turn (                     -- what counts for the limits, and whose turn it is
    person text PRIMARY KEY,
    state jsonb NOT NULL,
    waits boolean NOT NULL,             -- whether a session is queued
    changed_at timestamptz NOT NULL
);
CREATE INDEX turn_waits ON turn (person) WHERE waits;

-- Which gateway polls IAMPASS for a session. Neither has a MAC: they make nobody's answer.

CREATE TABLE lease_holder (
    id uuid PRIMARY KEY,                -- of a gateway's process
    until timestamptz NOT NULL          -- until when it is taken to be alive
);

CREATE TABLE lease (
    session uuid PRIMARY KEY,
    holder uuid NOT NULL,
    epoch bigint NOT NULL               -- counts the holders
);

CREATE TABLE question (                 -- to a host: does a connection begin in the login of this session?
    id uuid PRIMARY KEY,                -- good for one answer
    asker text NOT NULL,                -- the host to which the connection leads
    host text NOT NULL,
    session uuid NOT NULL,
    person text NOT NULL,               -- who logs in there
    connection text NOT NULL,           -- as the other host's sshd sees it
    asked_at timestamptz NOT NULL,
    answer boolean,                     -- none yet
    mac bytea NOT NULL
);
CREATE INDEX question_asked ON question (asked_at);
CREATE INDEX question_of_asker ON question (asker, asked_at);

CREATE TABLE nonce (
    client text NOT NULL,
    nonce numeric(20) NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client, nonce)
);
CREATE INDEX nonce_expired ON nonce (expires_at);

CREATE TABLE record (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    host text,
    person text,
    fields jsonb NOT NULL,
    said_at timestamptz                 -- when a login was, as its host has said; none: at
);
CREATE INDEX record_at ON record (at);
CREATE INDEX record_person ON record (person, at);
CREATE INDEX record_host ON record (host, at);
-- What limits look for among the records of years.
CREATE INDEX record_familiar ON record (person, host, at) WHERE fields->>'outcome' IN ('approved', 'covered');
CREATE INDEX record_wrong_code ON record (host, at) WHERE fields ? 'wrong_code';
CREATE INDEX record_sign_in ON record ((fields->>'sign_in'), at) WHERE fields ? 'sign_in';
CREATE INDEX record_refused ON record (host, at) WHERE fields ? 'refused';
CREATE INDEX record_news ON record (person, at) WHERE kind = 'act' AND fields->>'what' IN (
    'user_add', 'passkey_add', 'phone_new', 'enroll', 'recovery_new', 'code_for_lost_phone');
CREATE INDEX record_told ON record (person, at) WHERE fields ? 'told';
CREATE INDEX record_reported ON record (host, at) WHERE kind = 'report';
CREATE INDEX record_reported_login ON record (host, (fields->>'login')) WHERE kind = 'report';
