"""Weights of the CIFAR-10 ResNet-20 and ResNet-44 by Yerlan Idelbayev."""

from __future__ import annotations

from bridge.data.dataset import Dataset, GitHubFolder

_SOURCE = GitHubFolder(
    "akamaster/pytorch_resnet_cifar10", "d5489e8995e81e91ce6b1d69dcc98ad579b0b153", "pretrained_models"
)

DATASET = Dataset(
    name="resnet_cifar10",
    title="CIFAR-10 ResNets, pretrained",
    files=(
        _SOURCE.file(
            "resnet20",
            "resnet_cifar10/resnet20-12fca82f.th",
            "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
        ),
        _SOURCE.file(
            "resnet44",
            "resnet_cifar10/resnet44-014dd654.th",
            "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4",
        ),
    ),
    licence="BSD-2-Clause",
    citation=(
        "Idelbayev, Y. Proper ResNet implementation for CIFAR10/CIFAR100 in PyTorch; architecture: He, K., Zhang, X., "
        "Ren, S. & Sun, J. (2016). Deep residual learning for image recognition. CVPR."
    ),
    description="Checkpoints {best_prec1, state_dict} of ResNet-20 (91.8% test accuracy) and ResNet-44.",
)
