"""Write `result.schema.json`, the JSON schema of a study result, from the code."""

import json
from pathlib import Path

from covid_bert.systems.result import StudyResult

text = json.dumps(StudyResult.model_json_schema(), indent=2) + "\n"
(Path(__file__).parent / "result.schema.json").write_text(text, encoding="utf-8")
