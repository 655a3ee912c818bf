# shellcheck shell=bash disable=SC2034,SC2016,SC2153
# The contract that every transport keeps, on verbs: the very suite that local, tcp and shm pass.
limit_s=240

scenario() {
  on -t 220 p1 "RRAM_TEST_VERBS_ADDRESS=${ADDRESS[p1]} \$BUILD/tests/contract/contract_test" \
    "--gtest_filter=*/verbs*:VerbsRights.* --gtest_brief=1" >"$WORK/said" || fail "$(tail -n 40 "$WORK/said")"
  tail -n 2 "$WORK/said"
  expect_match "result" "$(cat "$WORK/said")" "PASSED.* 4[0-9] tests"
  ! grep -q SKIPPED "$WORK/said" || fail "tests were skipped: $(cat "$WORK/said")"
}
