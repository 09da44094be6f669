"""From query vectors to answers: retrieval, candidates, verification, decision, calibration."""
