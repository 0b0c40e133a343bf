-- Which tenure of the service is the last: one row. A process that serves alone counts up when it begins, and writes only while the
-- number is its own. Here it stays 0: one process has the file.
CREATE TABLE tenures (
    number INTEGER PRIMARY KEY NOT NULL
) STRICT;

INSERT INTO tenures (number)
VALUES (0);
