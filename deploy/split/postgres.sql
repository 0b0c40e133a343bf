-- The users of a split platform on Postgres, and its database. Run by a superuser, as often as one likes:
--
--   psql -v owner=… -v auth=… -v things=… -v channels=… -v writer=… -v reader=… -f postgres.sql
--
-- with a password for each. The owner makes schemas and tables (`trunkline migrate`) and grants each of the others the rows of its
-- own schema; nobody else can change a table. The writer adds messages and reads none, the reader reads messages and adds none. The
-- server is taken for the platform's own: what everybody may do by default, on its other databases too, is taken from everybody.

\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN', name)
FROM (VALUES
    ('trunkline_owner'), ('trunkline_auth'), ('trunkline_things'), ('trunkline_channels'), ('trunkline_writer'), ('trunkline_reader')
) AS wanted (name)
WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec

ALTER ROLE trunkline_owner PASSWORD :'owner';
ALTER ROLE trunkline_auth PASSWORD :'auth';
ALTER ROLE trunkline_things PASSWORD :'things';
ALTER ROLE trunkline_channels PASSWORD :'channels';
ALTER ROLE trunkline_writer PASSWORD :'writer';
ALTER ROLE trunkline_reader PASSWORD :'reader';

SELECT 'CREATE DATABASE trunkline OWNER trunkline_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'trunkline')
\gexec

REVOKE ALL ON DATABASE trunkline, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE trunkline
    TO trunkline_auth, trunkline_things, trunkline_channels, trunkline_writer, trunkline_reader;

\connect trunkline
-- Up to version 14, everybody may make tables here.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
