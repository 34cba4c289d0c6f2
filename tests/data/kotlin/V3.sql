ALTER TABLE sessions
    ADD COLUMN device_model varchar(128),
    ADD COLUMN os_version integer,
    ADD COLUMN sdk_version varchar(32),
    ADD COLUMN connection_type varchar(16);
