-- sagas that were removed because of their age, or to make room: half of an id's fingerprint, and when
CREATE TABLE expired (
    mark UINTEGER NOT NULL,
    "day" INTEGER NOT NULL
);
