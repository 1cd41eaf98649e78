"""``sb3-tdac compare``: several algorithms on several environments, with equal evaluations.

``command`` reads the options. Training: ``contenders`` are algorithms with their configurations,
``runs`` the folders of single trainings, ``pool`` starts processes, ``worker`` is one of them, and
``evaluation`` its callback. Results: ``comparison`` holds all evaluations, ``folders`` reads and
joins them, ``scores`` normalises returns, ``statistics`` summarises them, ``tables`` and
``pictures`` show them.
"""
