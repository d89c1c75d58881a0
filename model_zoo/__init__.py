"""One paper, one file: importing this package registers every model in it.

Installed it is called what :data:`fuxi_mtl.registry.ZOO` says, since every clone of FuxiCTR has a folder
``model_zoo``, too. In a checkout ``from model_zoo import MMoE`` gives the same classes: imported by that name
this file stands aside for the other.
"""

import importlib
import pkgutil
import sys

from fuxi_mtl.registry import ZOO, import_zoo, model, names

if __name__ == ZOO:
    for _module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{_module.name}")
    globals().update({_name: model(_name) for _name in names() if model(_name).__module__.startswith(ZOO)})
else:
    _zoo = import_zoo()
    # No file is held twice: all modules answer to both names.
    for _name, _loaded in list(sys.modules.items()):
        if _name == ZOO or _name.startswith(f"{ZOO}."):
            sys.modules[__name__ + _name.removeprefix(ZOO)] = _loaded
