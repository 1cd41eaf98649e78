"""``sb3-tdac sweep``: several processes search hyperparameters in one Optuna study.

``command`` reads the options and is the parent process, ``worker`` is a process that runs trials,
``study`` decides which trials count and which are run again, ``report`` shows and writes results.
"""
