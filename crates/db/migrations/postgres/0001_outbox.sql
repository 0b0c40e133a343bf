-- Events that were decided with the rows of the same transaction and wait to be published.
CREATE TABLE outbox (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL,
    payload BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
