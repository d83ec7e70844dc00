"""Architectures of timm, without pretrained weights."""

from zoo.registry import images, register


def create(name, size=64, **settings):
    import timm

    return timm.create_model(name, pretrained=False, **settings), {"x": images(size=size)}


@register
def timm_resnet50():
    return create("resnet50")


@register
def timm_efficientnet_b0():
    return create("efficientnet_b0")


@register
def timm_vit_tiny():
    m, _ = create("vit_tiny_patch16_224", img_size=64)
    return m, {"x": images(size=64)}


@register
def timm_mixer():
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(img_size=32, patch_size=8, num_blocks=3, embed_dim=64, num_classes=10), {"x": images()}


@register
def timm_nfnet():
    m, kw = create("nfnet_l0", num_classes=10)
    return m, kw


@register
def timm_convnext():
    return create("convnext_atto", num_classes=10)
