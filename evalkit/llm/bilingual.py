"""One prompt in English and Chinese: rewrite_en.yaml and rewrite_zh.yaml are the prompt "rewrite".

A setting names one of evalkit's, or the path of a YAML file of one's own, which serves both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evalkit.analysis import LANGUAGES, detect_language
from evalkit.errors import ConfigError, nearest
from evalkit.llm.prompts import Prompt, Task, load_prompt, prompt_names


class BilingualPrompt:
    """The prompt `name` of a task; ConfigError where there is none.

    language: "en", "zh", or "auto" for that of the text at hand; it chooses among evalkit's.
    """

    def __init__(self, name: str, task: Task, language: str = "auto") -> None:
        if language not in LANGUAGES:
            raise ConfigError(f"language={language}: expected one of {', '.join(LANGUAGES)}")
        self.name, self.language = name, language
        if name.endswith((".yaml", ".yml")):
            files = {"en": name, "zh": name}
        else:
            known = sorted({each.rpartition("_")[0] for each in prompt_names(task)})
            if name not in known:
                raise ConfigError(
                    f"prompt={name}: expected {', '.join(known)}, or the path of a .yaml file."
                    f"{nearest(name, known)}"
                )
            files = {language: f"{name}_{language}" for language in ("en", "zh")}
        self._prompts = {language: load_prompt(file, task) for language, file in files.items()}

    @property
    def prompts(self) -> Collection[Prompt]:
        """Those of both languages."""
        return self._prompts.values()

    @property
    def digests(self) -> Mapping[str, str]:
        """Language → digest of what a model sees."""
        return {language: prompt.digest for language, prompt in self._prompts.items()}

    def language_of(self, text: str) -> str:
        """The language whose prompt a text is given."""
        return detect_language(text) if self.language == "auto" else self.language

    def of(self, text: str) -> Prompt:
        """The prompt in the language of a text."""
        return self._prompts[self.language_of(text)]
