"""The README's Python runs as it stands, in order, and prints what its comments say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from prefect_server import Server, environment

README = Path(__file__).parents[2] / "README.md"


def test_every_block_of_the_readme_runs(tmp_path: Path, prefect: Server) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    code = "\n".join(blocks)
    said = [line[2:] for line in code.splitlines() if re.match(r"# [\[{]", line)]
    lines = []
    for statement in ast.parse(code).body:
        source = ast.unparse(statement)
        is_value = isinstance(statement, ast.Expr)
        lines.append(f"print('=>', {source})" if is_value else source)
    script = tmp_path / "readme.py"
    script.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(tmp_path / "home", PREFECT_API_URL=prefect.url),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert len(said) >= 4
    for value in said:
        assert f"=> {value}\n" in done.stdout
