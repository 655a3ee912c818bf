# shellcheck shell=bash disable=SC2034
# A database is made, indexed, vacuumed and checked, in both journal modes.
matrix=cover
limit_s=180
needs="sqlite3"

scenario() {
  local mode
  volume_start 2 512M
  for mode in delete wal; do
    step "journal mode $mode"
    sqlite3 -bail "$MNT/$mode.db" >"$WORK/answers" <<SQL
PRAGMA journal_mode=$mode;
CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT, body BLOB);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100000)
  INSERT INTO entry SELECT n, 'name ' || (n * 7919 % 100003), randomblob(200) FROM number;
CREATE INDEX entry_name ON entry (name);
DELETE FROM entry WHERE id % 3 = 0;
VACUUM;
UPDATE entry SET body = randomblob(300) WHERE id % 5 = 0;
SQL
    drop_caches
    expect_equal "integrity" "$(sqlite3 "$MNT/$mode.db" 'PRAGMA integrity_check')" ok
    expect_equal "rows" "$(sqlite3 "$MNT/$mode.db" 'SELECT count(*) FROM entry')" 66667
    expect_equal "by index" \
      "$(sqlite3 "$MNT/$mode.db" "SELECT count(*) FROM entry WHERE name = 'name 7919'")" 1
  done
}
