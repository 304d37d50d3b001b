"""transformers' models in small, from configs, for the tests of plans. Nothing is downloaded."""

from functools import partial

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, logging

from plan_training import WORDS, Build

logging.set_verbosity_error()  # their generation configs speak of tokens beyond a vocabulary of 11


def gpt2(width: int, *, tied: bool = True, head: int | None = 4) -> nn.Module:
    """Two layers, without dropout; heads of a fixed size (more of them), or two heads that grow."""
    heads = 2 if head is None else width // head
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=WORDS,
            n_positions=8,
            n_embd=width,
            n_layer=2,
            n_head=heads,
            tie_word_embeddings=tied,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def llama(width: int, *, head: int | None = 4, std: float = 0.02) -> nn.Module:
    """Two layers; heads of a fixed size, or two heads that grow."""
    heads = 2 if head is None else width // head
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=8,
            tie_word_embeddings=False,
            initializer_range=std,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


GPT2_UNTIED: Build = partial(gpt2, tied=False)
