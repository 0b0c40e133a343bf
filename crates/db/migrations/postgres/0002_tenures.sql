-- Which tenure of the service is the last: one row. A process that serves alone counts up when it begins, and writes only while the
-- number is its own.
CREATE TABLE tenures (
    number BIGINT PRIMARY KEY
);

INSERT INTO tenures (number)
VALUES (0);
